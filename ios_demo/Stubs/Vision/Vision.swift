// STUB, for type-checking on Linux only: Vision's declarations as published at developer.apple.com, without bodies.

import CoreVideo
import Foundation

open class VNRequest: NSObject {}
open class VNImageBasedRequest: VNRequest {}

open class VNPixelBufferObservation: NSObject {
    open var pixelBuffer: CVPixelBuffer { fatalError() }
}

open class VNGeneratePersonSegmentationRequest: VNImageBasedRequest {
    public enum QualityLevel: UInt, Sendable { case accurate, balanced, fast }
    public override init() { fatalError() }
    open var qualityLevel: QualityLevel = .accurate
    open var outputPixelFormat: OSType = 0
    open var results: [VNPixelBufferObservation]? { fatalError() }
}

public struct VNImageOption: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
}

open class VNImageRequestHandler: NSObject {
    public init(cvPixelBuffer pixelBuffer: CVPixelBuffer, options: [VNImageOption: Any]) { fatalError() }
    open func perform(_ requests: [VNRequest]) throws { fatalError() }
}
