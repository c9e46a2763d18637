// STUB, for type-checking on Linux only: UIKit's declarations as published at developer.apple.com, without bodies.

import Foundation
@_exported import QuartzCore

@MainActor open class UIDevice: NSObject {
    public class var current: UIDevice { fatalError() }
    open var systemName: String { fatalError() }
    open var systemVersion: String { fatalError() }
}

@MainActor open class UIView: NSObject {
    public init(frame: CGRect) { fatalError() }
    public required init?(coder: NSCoder) { fatalError() }
    open var layer: CALayer { fatalError() }
    open var bounds: CGRect = .zero
    open func layoutSubviews() { fatalError() }
}

// Foundation's on Apple platforms.
extension ProcessInfo {
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { fatalError() }
}
