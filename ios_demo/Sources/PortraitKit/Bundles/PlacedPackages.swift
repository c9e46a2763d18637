import Foundation

/// What `portrait-export demo` put into the app: its list, `packages.json`.
public struct PlacedPackages: Codable, Equatable, Sendable {
    /// The list's file name in the app's bundle.
    public static let fileName = "packages.json"
    /// The version of the list that this code reads.
    public static let format = 1

    /// One package.
    public struct Package: Codable, Hashable, Sendable, Identifiable {
        /// The package's name without suffix: `NAME.mlpackage` before Xcode compiles it, `NAME.mlmodelc` after.
        public let name: String
        /// The hash of the .mlpackage, by which the toolkit recognizes it.
        public let sha256: String
        /// The size of the .mlpackage in bytes.
        public let bytes: Int

        /// A package by its name and hash.
        public init(name: String, sha256: String, bytes: Int) {
            self.name = name
            self.sha256 = sha256
            self.bytes = bytes
        }

        /// The name.
        public var id: String { name }
    }

    /// The version of the list.
    public let format: Int
    /// Every package, in the order in which they were asked for.
    public let packages: [Package]
    /// File names of the photographs.
    public let photos: [String]

    /// Reads the list.
    ///
    /// - Throws: `PortraitError.engine` if it is not a list of this format.
    public init(json: Data) throws(PortraitError) {
        do {
            self = try JSONDecoder().decode(PlacedPackages.self, from: json)
        } catch {
            throw Self.unusable("it cannot be read: \(error)")
        }
        guard format == Self.format else { throw Self.unusable("it has format \(format), not \(Self.format).") }
        guard !packages.isEmpty else { throw Self.unusable("it names no package.") }
    }

    private static func unusable(_ reason: String) -> PortraitError {
        .engine(name: fileName, reason: reason, hint: "Run `portrait-export demo` and build the app again.")
    }
}
