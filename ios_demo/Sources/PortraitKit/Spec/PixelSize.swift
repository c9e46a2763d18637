/// The size of a picture, frame or mask in whole pixels. Height comes first, as in the toolkit.
public struct PixelSize: Hashable, Sendable {
    /// Rows.
    public let height: Int
    /// Columns.
    public let width: Int

    /// A size of `height` rows and `width` columns.
    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }

    /// How many pixels there are.
    public var pixelCount: Int { height * width }

    /// The length of the diagonal in pixels.
    public var diagonal: Double {
        (Double(height) * Double(height) + Double(width) * Double(width)).squareRoot()
    }
}

extension PixelSize: CustomStringConvertible {
    /// Height and width as people write them: `512x384`.
    public var description: String { "\(height)x\(width)" }
}

extension PixelSize {
    /// The size that suits a photo: of those nearest to its shape, the smallest that covers it, or else the largest.
    ///
    /// It equals the toolkit's `sizes.closest`.
    ///
    /// - Parameters:
    ///   - photo: the size of the photo.
    ///   - sizes: the sizes that a package takes.
    /// - Returns: one of `sizes`, or nil if there are none.
    public static func closest(to photo: PixelSize, among sizes: [PixelSize]) -> PixelSize? {
        let aspect = photo.logAspect
        let candidates = sizes.map { (size: $0, distance: rounded(abs($0.logAspect - aspect))) }
        guard let least = candidates.map(\.distance).min() else { return nil }
        let nearest = candidates.filter { $0.distance == least }.map(\.size)
            .enumerated().sorted { ($0.element.pixelCount, $0.offset) < ($1.element.pixelCount, $1.offset) }
            .map(\.element)
        return nearest.first { $0.height >= photo.height && $0.width >= photo.width } ?? nearest.last
    }

    private var logAspect: Double { logarithm(Double(height) / Double(width)) }

    /// Six decimals: shapes that differ by less are the same shape.
    private static func rounded(_ distance: Double) -> Double {
        (distance * 1e6).rounded(.toNearestOrEven)
    }
}
