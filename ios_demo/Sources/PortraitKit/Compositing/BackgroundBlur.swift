import Foundation

/// At most so many pixels does the reduced picture have that is blurred.
private let blurPixels = 8_000_000.0
/// Pixels enlarged at once, so that memory does not grow with the photo.
private let stripPixels = 1 << 20

extension Compositor {
    /// The default blur: its sigma as a share of the photo's diagonal.
    public static let blurShare = 0.02

    /// The person in front of a blurred background.
    ///
    /// The blur is a normalised convolution (Knutsson and Westin, CVPR 1993) with the background's weight
    /// w = (1 − P)^4, so the person does not shine into it and neither does what is beyond the photo's border:
    ///
    ///     B = G∗(w·photo) / G∗w;   out = P·F + (1 − P)·B,
    ///
    /// with F the photo with the person's own colours at soft edges (`foreground`).
    ///
    /// It is computed on a picture reduced by sigma/2, and in strips.
    ///
    /// - Parameter sigma: of the Gaussian G, in pixels; nil takes 2 % of the diagonal; 0 leaves the photo as it is.
    /// - Throws: `PortraitError.outOfRange` for a sigma that is not 0 or more.
    public func blurred(sigma: Double? = nil) throws(PortraitError) -> Picture {
        let strength = sigma ?? Self.blurShare * photo.size.diagonal
        guard strength >= 0, strength.isFinite else {
            throw PortraitError.outOfRange(what: "A blur's sigma in pixels", allowed: "0 or more", found: strength)
        }
        if strength == 0 { return photo }
        let least = (Double(photo.size.pixelCount) / blurPixels).squareRoot().rounded(.up)
        let factor = max(1, Int(strength / 2), Int(least))
        let blurred = WeightedColors(photo: photo, mask: mask, factor: factor)
            .convolved(sigma: WeightedColors.sigmaLeft(strength, factor: factor)).planes
        let (height, width) = (photo.size.height, photo.size.width)
        let step = max(1, stripPixels / width)
        let front = front()
        return Picture(size: photo.size, channels: 3) { out in
            for top in stride(from: 0, to: height, by: step) {
                let rows = top..<min(height, top + step)
                let box = FractionalBox(
                    left: 0, top: Float(Double(rows.lowerBound) / Double(factor)),
                    right: Float(Double(width) / Double(factor)),
                    bottom: Float(Double(rows.upperBound) / Double(factor))
                )
                let target = PixelSize(height: rows.count, width: width)
                mix(blurred.map { $0.resampled(box: box, to: target) }, over: front, from: top * width, into: out)
            }
        }
    }

    /// P·F + (1 − P)·colour/weight for the pixels of a strip, whose first is pixel `start` of the photo.
    private func mix(
        _ strip: [Plane], over front: Picture, from start: Int, into out: UnsafeMutableBufferPointer<UInt8>
    ) {
        strip[3].values.withUnsafeBufferPointer { weights in
            for channel in 0..<3 {
                strip[channel].values.withUnsafeBufferPointer { colors in
                    front.samples.withUnsafeBufferPointer { photo in
                        mask.values.withUnsafeBufferPointer { mask in
                            for index in weights.indices {
                                let pixel = start &+ index
                                let own = Float(photo[pixel &* 3 &+ channel])
                                // Deep inside a person no background is near: there the photo takes its place.
                                let near = weights[index] > 1e-6
                                let scale = 1 / (near ? weights[index] : 1)
                                let behind = near ? colors[index] * scale : own
                                out[pixel &* 3 &+ channel] = byte(mask[pixel] * own + (1 - mask[pixel]) * behind)
                            }
                        }
                    }
                }
            }
        }
    }
}

/// (w·R, w·G, w·B, w) of a reduced picture, w the weight as background.
private struct WeightedColors {
    let size: PixelSize
    var pixels: [SIMD4<Float>]

    /// Sums over blocks of factor², divided by factor²; blocks cut short by the border weigh less, as they should.
    init(photo: Picture, mask: Plane, factor: Int) {
        let (height, width) = (photo.size.height, photo.size.width)
        size = PixelSize(height: (height + factor - 1) / factor, width: (width + factor - 1) / factor)
        var sums = [SIMD4<Float>](repeating: .zero, count: size.pixelCount)
        let blocks = size.width
        photo.samples.withUnsafeBufferPointer { photo in
            mask.values.withUnsafeBufferPointer { mask in
                sums.withUnsafeMutableBufferPointer { sums in
                    for row in 0..<height {
                        for block in 0..<blocks {
                            var sum = SIMD4<Float>.zero
                            for column in (block &* factor)..<min(width, (block &+ 1) &* factor) {
                                let index = row &* width &+ column
                                let background = 1 - mask[index]
                                let weight = background * background * background * background
                                let color = SIMD4<Float>(
                                    Float(photo[index &* 3]), Float(photo[index &* 3 &+ 1]),
                                    Float(photo[index &* 3 &+ 2]), 1)
                                sum += color * weight
                            }
                            sums[row / factor &* blocks &+ block] += sum
                        }
                    }
                }
            }
        }
        let area = Float(factor * factor)
        pixels = sums.map { $0 / area }
    }

    /// The blur still to do on the reduced picture, in its pixels.
    ///
    /// Variances add: averaging blocks of f brings f²/12, linear interpolation back about f²/6.
    static func sigmaLeft(_ sigma: Double, factor: Int) -> Double {
        if factor == 1 { return sigma }
        let share = sigma / Double(factor)
        return max(0, share * share - 1.0 / 12 - 1.0 / 6).squareRoot()
    }

    /// Convolved with a Gaussian of `sigma` pixels, zeros beyond the border.
    func convolved(sigma: Double) -> WeightedColors {
        let reach = Int((3 * sigma).rounded(.up))
        let raw = (-reach...reach).map { exp(-0.5 * (Double($0) / max(sigma, 1e-9)) * (Double($0) / max(sigma, 1e-9))) }
        let total = raw.reduce(0, +)
        let taps = raw.map { Float($0 / total) }
        var result = self
        result.pixels = alongColumns(pixels, taps: taps, reach: reach)
        result.pixels = alongRows(result.pixels, taps: taps, reach: reach)
        return result
    }

    private func alongColumns(_ source: [SIMD4<Float>], taps: [Float], reach: Int) -> [SIMD4<Float>] {
        let (height, width) = (size.height, size.width)
        var out = [SIMD4<Float>](repeating: .zero, count: source.count)
        source.withUnsafeBufferPointer { source in
            out.withUnsafeMutableBufferPointer { out in
                for row in 0..<height {
                    for offset in max(-reach, -row)...min(reach, height - 1 - row) {
                        let tap = taps[offset + reach]
                        let start = (row + offset) * width
                        for column in 0..<width { out[row * width + column] += source[start + column] * tap }
                    }
                }
            }
        }
        return out
    }

    private func alongRows(_ source: [SIMD4<Float>], taps: [Float], reach: Int) -> [SIMD4<Float>] {
        let (height, width) = (size.height, size.width)
        var out = [SIMD4<Float>](repeating: .zero, count: source.count)
        source.withUnsafeBufferPointer { source in
            out.withUnsafeMutableBufferPointer { out in
                for row in 0..<height {
                    for offset in -min(reach, width - 1)...min(reach, width - 1) {
                        let tap = taps[offset + reach]
                        for column in max(0, -offset)..<min(width, width - offset) {
                            out[row * width + column] += source[row * width + column + offset] * tap
                        }
                    }
                }
            }
        }
        return out
    }

    /// The four values as planes.
    var planes: [Plane] {
        (0..<4).map { lane in
            Plane(size: size) { out in
                for index in out.indices { out[index] = pixels[index][lane] }
            }
        }
    }
}
