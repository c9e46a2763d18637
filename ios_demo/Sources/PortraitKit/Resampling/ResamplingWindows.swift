/// A filter of Pillow's antialiased resampling.
public enum ResamplingFilter: Sendable {
    /// A triangle, for pixels, masks and depth.
    case bilinear
    /// A cubic with a = -0.5, for replaced backgrounds.
    case bicubic

    /// How far the filter reaches to each side, in pixels of the coarser side.
    var support: Double {
        switch self {
        case .bilinear: return 1
        case .bicubic: return 2
        }
    }

    func weight(_ distance: Double) -> Double {
        let x = abs(distance)
        switch self {
        case .bilinear: return x < 1 ? 1 - x : 0
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }
    }
}

/// Which source pixels make each target pixel along one axis, and with which weights.
///
/// The same arithmetic as `precompute_coeffs` of Pillow's `Resample.c` (MIT-CMU licence), in double precision: a window
/// is centred on the target pixel's centre, and widened by the scale where the picture shrinks.
struct ResamplingWindows {
    /// The first source pixel of each window.
    let starts: [Int]
    /// How many source pixels each window holds.
    let counts: [Int]
    /// `stride` weights for each window, of which the first `counts` are used; they sum to 1.
    let weights: [Double]
    /// How many weights are stored for each window.
    let stride: Int

    /// - Parameters:
    ///   - source: source pixels along the axis.
    ///   - first: where the part that is resampled begins, in source pixels.
    ///   - last: where it ends.
    ///   - target: target pixels along the axis.
    init(source: Int, from first: Float, to last: Float, target: Int, filter: ResamplingFilter) {
        let scale = Double(last - first) / Double(target)
        let filterScale = max(1, scale)
        let support = filter.support * filterScale
        let stride = Int(support.rounded(.up)) * 2 + 1
        var starts = [Int](repeating: 0, count: target)
        var counts = starts
        var weights = [Double](repeating: 0, count: target * stride)
        for index in 0..<target {
            let center = Double(first) + (Double(index) + 0.5) * scale
            let start = max(0, Int(center - support + 0.5))
            let count = min(source, Int(center + support + 0.5)) - start
            var sum = 0.0
            for tap in 0..<count {
                let weight = filter.weight((Double(tap + start) - center + 0.5) * (1 / filterScale))
                weights[index * stride + tap] = weight
                sum += weight
            }
            for tap in 0..<count where sum != 0 { weights[index * stride + tap] /= sum }
            starts[index] = start
            counts[index] = count
        }
        self.starts = starts
        self.counts = counts
        self.weights = weights
        self.stride = stride
    }

    /// The source pixels that any window uses.
    var span: Range<Int> {
        guard let first = starts.first, let last = starts.last, let count = counts.last else { return 0..<0 }
        return first..<(last + count)
    }

    /// The weights in fixed point with `Self.precision` fractional bits, as Pillow holds them for 8-bit pixels.
    var fixedPoint: [Int32] {
        weights.map { weight in
            let scaled = weight * Double(1 << Self.precision)
            return Int32(weight < 0 ? scaled - 0.5 : scaled + 0.5)
        }
    }

    /// Fractional bits of fixed-point weights: 32 less 8 for the pixel and 2 for the overshoot of the cubic.
    static let precision = 32 - 8 - 2
}

/// Whether rows are resampled before columns, as Pillow 13 decides: where many more rows than columns go.
///
/// The order matters for the last bit, because each pass rounds. Earlier releases of Pillow always begin with columns.
func resamplesRowsFirst(from source: PixelSize, to target: PixelSize) -> Bool {
    let rowsLess = source.height - target.height
    return rowsLess > 0 && rowsLess > 2 * (source.width - target.width)
}
