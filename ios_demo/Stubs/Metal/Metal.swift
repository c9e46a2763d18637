// STUB, for type-checking on Linux only: Metal's declarations as published at developer.apple.com, without bodies.

@_exported import Foundation

public enum MTLPixelFormat: UInt, Sendable { case bgra8Unorm = 80 }
public protocol MTLDrawable: NSObjectProtocol {}
public protocol MTLTexture: NSObjectProtocol {}
public protocol MTLCommandBuffer: NSObjectProtocol {
    func present(_ drawable: any MTLDrawable)
    func commit()
    @available(*, noasync) func waitUntilCompleted()
}
public protocol MTLCommandQueue: NSObjectProtocol { func makeCommandBuffer() -> (any MTLCommandBuffer)? }
public protocol MTLDevice: NSObjectProtocol, Sendable { func makeCommandQueue() -> (any MTLCommandQueue)? }
public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { fatalError() }
