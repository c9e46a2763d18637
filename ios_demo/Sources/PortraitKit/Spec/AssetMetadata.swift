import Foundation

extension PackageMetadata {
    /// The file of a Core AI asset that holds its metadata.
    public static let assetFileName = "metadata.json"

    /// Reads the metadata of a Core AI asset.
    ///
    /// - Parameters:
    ///   - json: the content of `metadata.json` in the .aimodel folder.
    ///   - name: the asset's name, for errors.
    /// - Throws: `PortraitError.engine` if it is not JSON, or as `init(userDefined:)` throws.
    public init(assetMetadata json: Data, name: String) throws(PortraitError) {
        let stored: Stored
        do {
            stored = try JSONDecoder().decode(Stored.self, from: json)
        } catch {
            throw PortraitError.engine(
                name: name, reason: "its \(Self.assetFileName) cannot be read: \(error)",
                hint: "Export it again with `portrait-export coreai`.")
        }
        try self.init(userDefined: (stored.creatorDefinedMetadata ?? [:]).compactMapValues(\.string))
    }

    /// What is read of the file; values that are not texts are other tools'.
    private struct Stored: Decodable {
        let creatorDefinedMetadata: [String: JSONValue]?
    }
}
