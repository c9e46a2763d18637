/// How far two masks are apart, by the toolkit's `verify.metrics`: the numbers agree to the last bit.
///
/// A NaN or an infinity in either mask makes every number NaN.
public struct MaskMetrics: Equatable, Sendable {
    /// Boundary tolerance as a share of the diagonal, as DAVIS has it (Perazzi et al., CVPR 2016).
    public static let boundaryShare = 0.008

    /// |A∩B| / |A∪B|, 0..1; two empty masks agree: 1.
    public let iou: Double
    /// How many pixels are person in one mask and background in the other.
    public let flippedPixels: Double
    /// F-score of the outlines, 0..1; two masks without outline agree (1), one without and one with do not (0).
    public let boundaryF: Double
    /// mean |a − b|.
    public let meanAbsoluteError: Double

    /// Compares two masks.
    ///
    /// - Parameters:
    ///   - a: P(person), of any size.
    ///   - b: P(person), of the same size.
    ///   - threshold: P(person) from which a pixel is person.
    ///   - radius: how far apart outlines may be, in pixels; nil takes `boundaryShare` of the diagonal, rounded up.
    /// - Throws: `PortraitError.sizeMismatch`.
    public init(_ a: Plane, _ b: Plane, threshold: Float = 0.5, radius: Int? = nil) throws(PortraitError) {
        try b.requireSize(a.size, what: "second mask")
        guard a.isFinite, b.isFinite else {
            iou = .nan
            flippedPixels = .nan
            boundaryF = .nan
            meanAbsoluteError = .nan
            return
        }
        let maskA = BinaryMask(a, threshold: threshold)
        let maskB = BinaryMask(b, threshold: threshold)
        let union = maskA.count(with: maskB) { $0 || $1 }
        iou = union == 0 ? 1 : Double(maskA.count(with: maskB) { $0 && $1 }) / Double(union)
        flippedPixels = Double(maskA.count(with: maskB) { $0 != $1 })
        boundaryF = maskA.boundaryF(maskB, radius: radius ?? Self.boundaryRadius(a.size))
        meanAbsoluteError = a.meanAbsoluteDifference(to: b)
    }

    /// The tolerance of outlines in pixels for masks of a size.
    public static func boundaryRadius(_ size: PixelSize) -> Int {
        Int((boundaryShare * size.diagonal).rounded(.up))
    }
}

extension Plane {
    /// mean |a − b| over two planes of one size, summed in double precision.
    func meanAbsoluteDifference(to other: Plane) -> Double {
        var sum = 0.0
        for (left, right) in zip(values, other.values) { sum += abs(Double(left) - Double(right)) }
        return sum / Double(values.count)
    }
}

/// A mask of which each pixel is person or background.
struct BinaryMask {
    let size: PixelSize
    var pixels: [Bool]

    init(_ mask: Plane, threshold: Float) {
        size = mask.size
        pixels = mask.values.map { $0 >= threshold }
    }

    private init(size: PixelSize, pixels: [Bool]) {
        self.size = size
        self.pixels = pixels
    }

    /// How many pixels are set.
    var count: Int { pixels.reduce(0) { $0 + ($1 ? 1 : 0) } }

    /// For how many pixels of two masks `holds` is true.
    func count(with other: BinaryMask, where holds: (Bool, Bool) -> Bool) -> Int {
        var count = 0
        for (a, b) in zip(pixels, other.pixels) where holds(a, b) { count += 1 }
        return count
    }

    /// F = 2·P·R / (P + R), where an outline pixel is found if the other outline is within `radius` pixels.
    func boundaryF(_ other: BinaryMask, radius: Int) -> Double {
        let (outlineA, outlineB) = (outline, other.outline)
        let (countA, countB) = (outlineA.count, outlineB.count)
        guard countA > 0, countB > 0 else { return countA == countB ? 1 : 0 }
        let precision = Double(outlineA.count(with: outlineB.dilated(radius)) { $0 && $1 }) / Double(countA)
        let recall = Double(outlineB.count(with: outlineA.dilated(radius)) { $0 && $1 }) / Double(countB)
        return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0
    }

    /// The outline, one pixel thin: where a pixel differs from its right, lower or diagonal neighbour.
    ///
    /// The picture's border is not an outline: beyond it nothing is known.
    var outline: BinaryMask {
        let (height, width) = (size.height, size.width)
        var out = [Bool](repeating: false, count: pixels.count)
        for row in 0..<height {
            let below = min(height - 1, row + 1)
            for column in 0..<width {
                let right = min(width - 1, column + 1)
                let own = pixels[row * width + column]
                out[row * width + column] =
                    own != pixels[row * width + right] || own != pixels[below * width + column]
                    || own != pixels[below * width + right]
            }
        }
        return BinaryMask(size: size, pixels: out)
    }

    /// All pixels within `radius` (Euclidean) of a set one.
    ///
    /// A disk is a stack of rows: row dy reaches √(r² − dy²) to each side, and a row's reach is a difference of sums.
    func dilated(_ radius: Int) -> BinaryMask {
        let (height, width) = (size.height, size.width)
        var out = [Bool](repeating: false, count: pixels.count)
        var sums = [Int](repeating: 0, count: width + 1)
        for row in 0..<height {
            for column in 0..<width { sums[column + 1] = sums[column] + (pixels[row * width + column] ? 1 : 0) }
            guard sums[width] > 0 else { continue }
            for dy in 0...radius {
                let reach = integerSquareRoot(radius * radius - dy * dy)
                for target in Set([row - dy, row + dy]) where target >= 0 && target < height {
                    for column in 0..<width where sums[min(column + reach + 1, width)] > sums[max(column - reach, 0)] {
                        out[target * width + column] = true
                    }
                }
            }
        }
        return BinaryMask(size: size, pixels: out)
    }
}

/// ⌊√n⌋ for n ≥ 0.
private func integerSquareRoot(_ n: Int) -> Int {
    var root = Int(Double(n).squareRoot())
    while root * root > n { root -= 1 }
    while (root + 1) * (root + 1) <= n { root += 1 }
    return root
}
