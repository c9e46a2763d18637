// STUB, for type-checking on Linux only: CoreImage's declarations as published at developer.apple.com, without bodies.

@_exported import CoreGraphics
import CoreVideo
import Metal

public struct CIImageOption: Hashable, Sendable { public static let colorSpace = CIImageOption() }
public struct CIContextOption: Hashable, Sendable {
    public static let workingColorSpace = CIContextOption()
    public static let cacheIntermediates = CIContextOption()
}
public let kCIInputBackgroundImageKey: String = ""
public let kCIInputMaskImageKey: String = ""

open class CIColor: NSObject {
    public init(red r: CGFloat, green g: CGFloat, blue b: CGFloat, alpha a: CGFloat) { fatalError() }
    open class var black: CIColor { fatalError() }
    open class var white: CIColor { fatalError() }
    open class var clear: CIColor { fatalError() }
}
open class CIImage: NSObject {
    public init(cvPixelBuffer pixelBuffer: CVPixelBuffer, options: [CIImageOption: Any]? = nil) { fatalError() }
    public init(color: CIColor) { fatalError() }
    open var extent: CGRect { fatalError() }
    open func transformed(by matrix: CGAffineTransform) -> CIImage { fatalError() }
    open func transformed(by matrix: CGAffineTransform, highQualityDownsample: Bool) -> CIImage { fatalError() }
    open func cropped(to rect: CGRect) -> CIImage { fatalError() }
    open func clampedToExtent() -> CIImage { fatalError() }
    open func composited(over dest: CIImage) -> CIImage { fatalError() }
    open func applyingGaussianBlur(sigma: Double) -> CIImage { fatalError() }
    open func applyingFilter(_ filterName: String, parameters params: [String: Any]) -> CIImage { fatalError() }
}
open class CIContext: NSObject {
    public init(mtlCommandQueue commandQueue: any MTLCommandQueue, options: [CIContextOption: Any]? = nil) {
        fatalError()
    }
    open func render(_ image: CIImage, to buffer: CVPixelBuffer, bounds: CGRect, colorSpace: CGColorSpace?) {
        fatalError()
    }
    open func render(
        _ image: CIImage, to texture: any MTLTexture, commandBuffer: (any MTLCommandBuffer)?, bounds: CGRect,
        colorSpace: CGColorSpace
    ) { fatalError() }
}
