/// What a package says about itself in its user-defined metadata.
public struct PackageMetadata: Equatable, Sendable {
    /// Where packages keep their PortraitSpec.
    public static let specKey = "portrait_export.spec"
    /// Where a package for several input sizes lists them, as `256x256,512x512`.
    public static let sizesKey = "portrait_export.sizes"

    /// How photos become inputs and outputs masks.
    public let spec: PortraitSpec
    /// The spec's JSON as the package stores it.
    public let specJSON: String
    /// Every input size that the package takes, the default first; never empty.
    public let sizes: [PixelSize]

    /// Reads the metadata that Core ML gives under `MLModelMetadataKey.creatorDefinedKey`.
    ///
    /// - Parameter userDefined: the package's user-defined metadata.
    /// - Throws: `PortraitError.noSpec` if it is not a package of the toolkit, `PortraitError.spec` if its spec cannot
    ///   be used, `PortraitError.sizes` if its list of sizes cannot be read.
    public init(userDefined: [String: String]) throws(PortraitError) {
        guard let text = userDefined[Self.specKey] else {
            throw PortraitError.noSpec(foundKeys: userDefined.keys.sorted())
        }
        do {
            spec = try PortraitSpec(json: text)
        } catch {
            throw PortraitError.spec(error)
        }
        specJSON = text
        guard let list = userDefined[Self.sizesKey] else {
            sizes = [spec.size]
            return
        }
        sizes = try Self.sizes(list)
    }

    private static func sizes(_ list: String) throws(PortraitError) -> [PixelSize] {
        let found = list.split(separator: ",").map { part -> PixelSize? in
            let sides = part.split(separator: "x").compactMap { Int($0) }
            guard sides.count == 2, sides.allSatisfy(PortraitSpec.sideRange.contains) else { return nil }
            return PixelSize(height: sides[0], width: sides[1])
        }
        let sizes = found.compactMap { $0 }
        guard !sizes.isEmpty, sizes.count == found.count else { throw PortraitError.sizes(found: list) }
        return sizes
    }
}
