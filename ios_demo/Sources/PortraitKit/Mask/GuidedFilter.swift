/// A mask sharpened along a photo's edges.
///
/// The fast guided filter (He & Sun, 2015, arXiv:1505.00996) with the photo's brightness I as its guide: in each window
/// its result is q = a·I + b, with
///
///     a = cov(I, p) / (var(I) + ε),  b = mean(p) − a·mean(I)
///
/// averaged over the windows that a pixel is in. q follows the edges but also blurs; its detail does not, so the result is
/// p + q − mean(q). It equals the toolkit's `imaging.guided.add_detail` up to rounding.
public struct GuidedFilter: Equatable, Sendable {
    /// Coefficients are found at a size whose longer side has at most so many pixels, and applied at the full one.
    public var workingSide = 1024
    /// As a share of the photo's longer side.
    public var radius = 8.0 / 512
    /// Of squared brightness: contrasts weaker than about 0.01 are not edges.
    public var epsilon: Float = 1e-4

    /// The toolkit's own settings.
    public init() {}

    /// The mask with the detail of the photo's edges.
    ///
    /// - Parameters:
    ///   - mask: P(person) in 0..1, of the photo's size.
    ///   - photo: three channels.
    /// - Returns: P(person) in 0..1.
    /// - Throws: `PortraitError.channels` or `.sizeMismatch`.
    public func addDetail(to mask: Plane, along photo: Picture) throws(PortraitError) -> Plane {
        try photo.requireChannels(3, what: "photo")
        try mask.requireSize(photo.size, what: "mask")
        let (height, width) = (photo.size.height, photo.size.width)
        let scale = min(1, Double(workingSide) / Double(max(height, width)))
        let size = PixelSize(
            height: max(1, roundHalfToEven(Double(height) * scale)),
            width: max(1, roundHalfToEven(Double(width) * scale))
        )
        let reach = max(1, roundHalfToEven(radius * Double(max(size.height, size.width))))
        let guide = photo.resampled(to: size).brightness
        let (a, b) = coefficients(guide: guide, mask: mask.resampled(to: size), reach: reach)
        let mean = a.combined(with: guide, *).combined(with: b, +).boxMean(reach)
        let slope = a.resampled(to: photo.size)
        let offset = b.combined(with: mean, -).resampled(to: photo.size)
        return mask.combined(with: slope.combined(with: photo.brightness, *), +)
            .combined(with: offset) { min(1, max(0, $0 + $1)) }
    }

    private func coefficients(guide: Plane, mask: Plane, reach: Int) -> (a: Plane, b: Plane) {
        let meanGuide = guide.boxMean(reach)
        let meanMask = mask.boxMean(reach)
        let covariance = guide.combined(with: mask, *).boxMean(reach)
            .combined(with: meanGuide.combined(with: meanMask, *), -)
        let variance = guide.combined(with: guide, *).boxMean(reach)
            .combined(with: meanGuide.combined(with: meanGuide, *), -)
        let epsilon = self.epsilon
        let a = covariance.combined(with: variance) { $0 / (max($1, 0) + epsilon) }
        let b = meanMask.combined(with: a.combined(with: meanGuide, *), -)
        return (a.boxMean(reach), b.boxMean(reach))
    }
}

extension Picture {
    /// The brightness of three channels by ITU-R 601, 0..1.
    var brightness: Plane {
        Plane(size: size) { out in
            samples.withUnsafeBufferPointer { source in
                for index in out.indices {
                    let red = Float(source[index * 3]) * 0.299
                    let green = Float(source[index * 3 + 1]) * 0.587
                    let blue = Float(source[index * 3 + 2]) * 0.114
                    out[index] = (red + green + blue) / 255
                }
            }
        }
    }
}

extension Plane {
    /// The mean over the (2r + 1)² window around each pixel, cut at the borders.
    func boxMean(_ reach: Int) -> Plane {
        let (height, width) = (size.height, size.width)
        var columnSums = [Double](repeating: 0, count: width)
        var rowSums = [Double](repeating: 0, count: width + 1)
        return Plane(size: size) { out in
            values.withUnsafeBufferPointer { source in
                columnSums.withUnsafeMutableBufferPointer { columnSums in
                    for row in 0..<min(reach, height) {
                        for column in 0..<width { columnSums[column] += Double(source[row * width + column]) }
                    }
                    for row in 0..<height {
                        if row + reach < height {
                            let entering = (row + reach) * width
                            for column in 0..<width { columnSums[column] += Double(source[entering + column]) }
                        }
                        if row - reach > 0 {
                            let leaving = (row - reach - 1) * width
                            for column in 0..<width { columnSums[column] -= Double(source[leaving + column]) }
                        }
                        let rows = min(row + reach + 1, height) - max(row - reach, 0)
                        for column in 0..<width { rowSums[column + 1] = rowSums[column] + columnSums[column] }
                        for column in 0..<width {
                            let end = min(column + reach + 1, width)
                            let start = max(column - reach, 0)
                            let count = Double(rows * (end - start))
                            out[row * width + column] = Float((rowSums[end] - rowSums[start]) / count)
                        }
                    }
                }
            }
        }
    }
}
