import Foundation

extension Plane {
    /// P(person) at another size from logits at this one.
    ///
    /// Bilinear between pixel centres without antialiasing (`align_corners=False`), then 1 / (1 + e^−x), as the toolkit's
    /// runtime does with packages whose output is logits.
    public func probability(ofLogitsAt target: PixelSize) -> Plane {
        let rows = Self.neighbours(source: size.height, target: target.height)
        let columns = Self.neighbours(source: size.width, target: target.width)
        return Plane(size: target) { out in
            for (row, vertical) in rows.enumerated() {
                for (column, horizontal) in columns.enumerated() {
                    let above = mixed(row: vertical.first, horizontal)
                    let below = mixed(row: vertical.second, horizontal)
                    let logit = above * (1 - vertical.share) + below * vertical.share
                    out[row * target.width + column] = 1 / (1 + exp(-logit))
                }
            }
        }
    }

    /// Two source pixels and the share of the second.
    private typealias Neighbours = (first: Int, second: Int, share: Float)

    private func mixed(row: Int, _ columns: Neighbours) -> Float {
        let left = values[row * size.width + columns.first]
        let right = values[row * size.width + columns.second]
        return left * (1 - columns.share) + right * columns.share
    }

    private static func neighbours(source: Int, target: Int) -> [Neighbours] {
        let scale = Float(source) / Float(target)
        return (0..<target).map { index in
            let position = max(0, (Float(index) + 0.5) * scale - 0.5)
            let first = min(source - 1, Int(position))
            return (first, min(source - 1, first + 1), position - Float(first))
        }
    }
}
