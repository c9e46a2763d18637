import Foundation

/// The list of a parity bundle: what a device computed, for `portrait-export parity --from-device` to judge.
///
/// A bundle is a folder with this list as `bundle.json`, the frames that the network saw as `frames/NAME.png` (sRGB at
/// the network's input size) and its masks as `masks/NAME.png` (8-bit gray, 255 = person, the same size).
public struct ParityBundle: Codable, Equatable, Sendable {
    /// The list's file name.
    public static let fileName = "bundle.json"

    /// The device that computed the masks.
    public struct Device: Codable, Equatable, Sendable {
        /// Such as `iPhone16,1`.
        public let model: String
        /// The system and its version.
        public let system: String

        /// A device by its model and system.
        public init(model: String, system: String) {
            self.model = model
            self.system = system
        }
    }

    /// One frame and its mask; paths are relative to the bundle.
    public struct Entry: Codable, Equatable, Sendable {
        /// The photograph's file name without suffix.
        public let name: String
        /// The path of the frame.
        public let frame: String
        /// The path of the mask.
        public let mask: String
        /// How long the network took, in milliseconds.
        public let networkMilliseconds: Double

        private enum CodingKeys: String, CodingKey {
            case name, frame, mask
            case networkMilliseconds = "network_ms"
        }

        /// The frame and mask of the photograph called `name`.
        public init(name: String, networkMilliseconds: Double) {
            self.name = name
            self.networkMilliseconds = networkMilliseconds
            frame = "frames/\(name).png"
            mask = "masks/\(name).png"
        }
    }

    /// The version of the list.
    public let format: Int
    /// The package's name.
    public let package: String
    /// The hash of the .mlpackage.
    public let packageSHA256: String
    /// The package's PortraitSpec as it stores it: JSON in a string.
    public let spec: String
    /// The device.
    public let device: Device
    /// What computed, such as `Core ML, CPU and Neural Engine`.
    public let computeUnits: String
    /// How long the first run took, in milliseconds.
    public let warmUpMilliseconds: Double
    /// One entry for each photograph.
    public let frames: [Entry]

    private enum CodingKeys: String, CodingKey {
        case format, package, spec, device, frames
        case packageSHA256 = "package_sha256"
        case computeUnits = "compute_units"
        case warmUpMilliseconds = "warm_up_ms"
    }

    /// A list of what an engine computed.
    public init(
        engine: EngineDescription, packageSHA256: String, device: Device, warmUpMilliseconds: Double, frames: [Entry]
    ) {
        format = 1
        package = engine.package
        self.packageSHA256 = packageSHA256
        spec = engine.metadata.specJSON
        self.device = device
        computeUnits = engine.runtime
        self.warmUpMilliseconds = warmUpMilliseconds
        self.frames = frames
    }

    /// The list as JSON.
    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }
}
