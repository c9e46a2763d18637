// STUB, for type-checking on Linux only: UIKit's declarations as published at developer.apple.com, without bodies.

import Foundation

@MainActor open class UIDevice: NSObject {
    public class var current: UIDevice { fatalError() }
    open var systemName: String { fatalError() }
    open var systemVersion: String { fatalError() }
}

// Foundation's on Apple platforms.
extension ProcessInfo {
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { fatalError() }
}
