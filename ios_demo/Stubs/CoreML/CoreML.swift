// STUB, for type-checking on Linux only: CoreML's declarations as published at developer.apple.com, without bodies.
// Classes that Apple does not declare Sendable are not Sendable here either.

import CoreVideo
import Foundation

public enum MLComputeUnits: Int, Sendable {
    case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine
}

open class MLModelConfiguration: NSObject {
    open var computeUnits: MLComputeUnits = .all
}

public struct MLModelMetadataKey: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let creatorDefinedKey = MLModelMetadataKey(rawValue: "")
}

public enum MLFeatureType: Int, Sendable {
    case invalid, int64, double, string, image, multiArray, dictionary, sequence, state
}

open class MLFeatureDescription: NSObject {
    open var name: String { fatalError() }
    open var type: MLFeatureType { fatalError() }
    open var imageConstraint: MLImageConstraint? { fatalError() }
}

open class MLImageConstraint: NSObject {
    open var pixelFormatType: OSType { fatalError() }
}

open class MLModelDescription: NSObject {
    open var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    open var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    open var metadata: [MLModelMetadataKey: Any] { fatalError() }
}

public enum MLMultiArrayDataType: Int, Sendable {
    case double, float32, float16, int32, int8
}

open class MLMultiArray: NSObject {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws { fatalError() }
    open var dataType: MLMultiArrayDataType { fatalError() }
    open var shape: [NSNumber] { fatalError() }
    open var strides: [NSNumber] { fatalError() }
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R { fatalError() }
}

open class MLFeatureValue: NSObject {
    public init(pixelBuffer value: CVPixelBuffer) { fatalError() }
    public init(multiArray value: MLMultiArray) { fatalError() }
    open var imageBufferValue: CVPixelBuffer? { fatalError() }
    open var multiArrayValue: MLMultiArray? { fatalError() }
}

public protocol MLFeatureProvider: AnyObject {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws { fatalError() }
    open var featureNames: Set<String> { fatalError() }
    open func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

open class MLPredictionOptions: NSObject {
    open var outputBackings: [String: Any] = [:]
}

open class MLModel: NSObject {
    open class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError() }
    open class func compileModel(at modelURL: URL) async throws -> URL { fatalError() }
    open var modelDescription: MLModelDescription { fatalError() }
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { fatalError() }
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) async throws -> any MLFeatureProvider { fatalError() }
}
