extension Picture {
    /// A part of the picture at another size, byte for byte as Pillow's `Image.crop(region).resize(target)`.
    ///
    /// - Parameters:
    ///   - region: the part that is seen; nothing beyond it has an influence. Nil is the whole picture.
    ///   - target: the size of the result.
    ///   - filter: the resampling filter.
    public func resampled(
        region: Box? = nil, to target: PixelSize, filter: ResamplingFilter = .bilinear
    ) -> Picture {
        let region = region ?? Box(covering: size)
        let seen = region.size
        if seen == target { return cropped(to: region) }
        if seen.width == target.width { return resampledRows(of: region, to: target.height, filter: filter) }
        if seen.height == target.height { return resampledColumns(of: region, to: target.width, filter: filter) }
        if resamplesRowsFirst(from: seen, to: target) {
            let low = resampledRows(of: region, to: target.height, filter: filter)
            return low.resampledColumns(of: Box(covering: low.size), to: target.width, filter: filter)
        }
        let narrow = resampledColumns(of: region, to: target.width, filter: filter)
        return narrow.resampledRows(of: Box(covering: narrow.size), to: target.height, filter: filter)
    }

    /// The pixels of a part of the picture.
    func cropped(to region: Box) -> Picture {
        if region == Box(covering: size) { return self }
        let rowLength = region.size.width * channels
        return Picture(size: region.size, channels: channels) { out in
            samples.withUnsafeBufferPointer { source in
                for row in 0..<region.size.height {
                    let start = ((region.top + row) * size.width + region.left) * channels
                    for index in 0..<rowLength { out[row * rowLength + index] = source[start + index] }
                }
            }
        }
    }

    /// The horizontal pass over the rows of `region`.
    private func resampledColumns(of region: Box, to width: Int, filter: ResamplingFilter) -> Picture {
        let windows = ResamplingWindows(
            source: region.size.width, from: 0, to: Float(region.size.width), target: width, filter: filter)
        let target = PixelSize(height: region.size.height, width: width)
        let weights = windows.fixedPoint
        return Picture(size: target, channels: channels) { out in
            samples.withUnsafeBufferPointer { source in
                for row in 0..<target.height {
                    let start = ((region.top + row) * size.width + region.left) * channels
                    let rowOut = UnsafeMutableBufferPointer(
                        rebasing: out[(row * target.width * channels)..<((row + 1) * target.width * channels)])
                    let rowIn = UnsafeBufferPointer(rebasing: source[start..<(start + region.size.width * channels)])
                    if channels == 3 {
                        resampleColorRow(rowIn, into: rowOut, windows, weights)
                    } else {
                        resampleRow(rowIn, into: rowOut, windows, weights, channels: channels)
                    }
                }
            }
        }
    }

    /// The vertical pass over the columns of `region`.
    private func resampledRows(of region: Box, to height: Int, filter: ResamplingFilter) -> Picture {
        let windows = ResamplingWindows(
            source: region.size.height, from: 0, to: Float(region.size.height), target: height, filter: filter)
        let weights = windows.fixedPoint
        let length = region.size.width * channels
        let pitch = size.width * channels
        let first = (region.top * size.width + region.left) * channels
        return Picture(size: PixelSize(height: height, width: region.size.width), channels: channels) { out in
            var sums = [Int32](repeating: 0, count: length)
            samples.withUnsafeBufferPointer { source in
                sums.withUnsafeMutableBufferPointer { sums in
                    for row in 0..<height {
                        for index in 0..<length { sums[index] = fixedPointHalf }
                        for tap in 0..<windows.counts[row] {
                            let weight = weights[row * windows.stride + tap]
                            let start = first + (windows.starts[row] + tap) * pitch
                            for index in 0..<length { sums[index] &+= Int32(source[start + index]) &* weight }
                        }
                        for index in 0..<length { out[row * length + index] = clippedByte(sums[index]) }
                    }
                }
            }
        }
    }
}

/// One half in fixed point, so that the shift in `clippedByte` rounds to nearest.
private let fixedPointHalf: Int32 = 1 << (Int32(ResamplingWindows.precision) - 1)

@inline(__always)
private func clippedByte(_ fixedPoint: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(255, max(0, fixedPoint >> Int32(ResamplingWindows.precision))))
}

/// One row of three channels; the sums of a pixel stay in registers.
private func resampleColorRow(
    _ source: UnsafeBufferPointer<UInt8>, into out: UnsafeMutableBufferPointer<UInt8>,
    _ windows: ResamplingWindows, _ weights: [Int32]
) {
    weights.withUnsafeBufferPointer { weights in
        for column in 0..<windows.starts.count {
            var (red, green, blue) = (fixedPointHalf, fixedPointHalf, fixedPointHalf)
            var index = windows.starts[column] &* 3
            let firstWeight = column &* windows.stride
            for tap in firstWeight..<(firstWeight &+ windows.counts[column]) {
                let weight = weights[tap]
                red &+= Int32(source[index]) &* weight
                green &+= Int32(source[index &+ 1]) &* weight
                blue &+= Int32(source[index &+ 2]) &* weight
                index &+= 3
            }
            out[column &* 3] = clippedByte(red)
            out[column &* 3 &+ 1] = clippedByte(green)
            out[column &* 3 &+ 2] = clippedByte(blue)
        }
    }
}

/// One row of any number of channels.
private func resampleRow(
    _ source: UnsafeBufferPointer<UInt8>, into out: UnsafeMutableBufferPointer<UInt8>,
    _ windows: ResamplingWindows, _ weights: [Int32], channels: Int
) {
    for column in 0..<windows.starts.count {
        for channel in 0..<channels {
            var sum = fixedPointHalf
            for tap in 0..<windows.counts[column] {
                let sample = source[(windows.starts[column] + tap) * channels + channel]
                sum &+= Int32(sample) &* weights[column * windows.stride + tap]
            }
            out[column * channels + channel] = clippedByte(sum)
        }
    }
}
