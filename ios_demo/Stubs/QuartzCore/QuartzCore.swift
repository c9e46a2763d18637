// STUB, for type-checking on Linux only: QuartzCore's declarations as published at developer.apple.com, without bodies.

@_exported import CoreGraphics
@_exported import Metal

public struct CALayerContentsGravity: Hashable, Sendable { public static let resizeAspect = CALayerContentsGravity() }
open class CALayer: NSObject {
    public override init() { fatalError() }
    open var frame: CGRect = .zero
    open var isHidden = false
    open var isOpaque = false
    open var contentsGravity = CALayerContentsGravity()
    open func addSublayer(_ layer: CALayer) { fatalError() }
}
public protocol CAMetalDrawable: MTLDrawable { var texture: any MTLTexture { get } }
open class CAMetalLayer: CALayer {
    open var device: (any MTLDevice)?
    open var pixelFormat = MTLPixelFormat.bgra8Unorm
    open var framebufferOnly = true
    open var drawableSize: CGSize = .zero
    open func nextDrawable() -> (any CAMetalDrawable)? { fatalError() }
}
