// STUB, for type-checking on Linux only: CoreGraphics' declarations as published at developer.apple.com, without bodies.

@_exported import Foundation

public typealias CFData = NSData
public struct CGAffineTransform: Equatable, Sendable {
    public init(a: CGFloat, b: CGFloat, c: CGFloat, d: CGFloat, tx: CGFloat, ty: CGFloat) { fatalError() }
}
public final class CGDataProvider { public init?(data: CFData) { fatalError() } }
public final class CGColorSpace {
    public static let sRGB = ""
    public static let genericGrayGamma2_2 = ""
    public init?(name: String) { fatalError() }
}
public enum CGImageAlphaInfo: UInt32, Sendable { case none, premultipliedLast, premultipliedFirst, last, first }
public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}
public enum CGColorRenderingIntent: Int32, Sendable { case defaultIntent }
public final class CGImage {
    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int, space: CGColorSpace,
        bitmapInfo: CGBitmapInfo, provider: CGDataProvider, decode: UnsafePointer<CGFloat>?, shouldInterpolate: Bool,
        intent: CGColorRenderingIntent
    ) { fatalError() }
}
