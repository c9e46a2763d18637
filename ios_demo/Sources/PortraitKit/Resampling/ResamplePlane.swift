/// A rectangle in fractions of pixels.
struct FractionalBox: Equatable {
    var left: Float
    var top: Float
    var right: Float
    var bottom: Float

    init(left: Float, top: Float, right: Float, bottom: Float) {
        self.left = left
        self.top = top
        self.right = right
        self.bottom = bottom
    }

    init(covering size: PixelSize) {
        self.init(left: 0, top: 0, right: Float(size.width), bottom: Float(size.height))
    }
}

extension Plane {
    /// A part of the plane at another size, bilinear and antialiased, bit for bit as Pillow resizes mode `F`.
    ///
    /// - Parameters:
    ///   - region: the part that is seen; nothing beyond it has an influence. Nil is the whole plane.
    ///   - target: the size of the result.
    public func resampled(region: Box? = nil, to target: PixelSize) -> Plane {
        let part = region.map(cropped(to:)) ?? self
        return part.resampled(box: FractionalBox(covering: part.size), to: target)
    }

    /// The plane within `box` at another size; pixels around the box are seen where a window reaches out of it.
    func resampled(box: FractionalBox, to target: PixelSize) -> Plane {
        let wholeWidth = box.left == 0 && box.right == Float(size.width) && target.width == size.width
        let wholeHeight = box.top == 0 && box.bottom == Float(size.height) && target.height == size.height
        if wholeWidth && wholeHeight { return self }
        let rows = ResamplingWindows(
            source: size.height, from: box.top, to: box.bottom, target: target.height, filter: .bilinear)
        if wholeWidth { return resampledRows(rows, from: 0) }
        let columns = ResamplingWindows(
            source: size.width, from: box.left, to: box.right, target: target.width, filter: .bilinear)
        if !wholeHeight, resamplesRowsFirst(from: size, to: target) {
            return resampledRows(rows, from: 0).resampledColumns(columns, rows: 0..<target.height)
        }
        let used = wholeHeight ? 0..<size.height : rows.span
        let narrow = resampledColumns(columns, rows: used)
        return wholeHeight ? narrow : narrow.resampledRows(rows, from: used.lowerBound)
    }

    /// The values of a part of the plane.
    func cropped(to region: Box) -> Plane {
        if region == Box(covering: size) { return self }
        return Plane(size: region.size) { out in
            values.withUnsafeBufferPointer { source in
                for row in 0..<region.size.height {
                    let start = (region.top + row) * size.width + region.left
                    for column in 0..<region.size.width {
                        out[row * region.size.width + column] = source[start + column]
                    }
                }
            }
        }
    }

    /// The horizontal pass over some rows.
    private func resampledColumns(_ windows: ResamplingWindows, rows: Range<Int>) -> Plane {
        let width = windows.starts.count
        return Plane(size: PixelSize(height: rows.count, width: width)) { out in
            values.withUnsafeBufferPointer { source in
                windows.weights.withUnsafeBufferPointer { weights in
                    for row in 0..<rows.count {
                        let start = (rows.lowerBound &+ row) &* size.width
                        for column in 0..<width {
                            var sum = 0.0
                            let first = start &+ windows.starts[column]
                            let firstWeight = column &* windows.stride
                            for tap in 0..<windows.counts[column] {
                                sum += Double(source[first &+ tap]) * weights[firstWeight &+ tap]
                            }
                            out[row &* width &+ column] = Float(sum)
                        }
                    }
                }
            }
        }
    }

    /// The vertical pass; the plane's first row is row `origin` of the windows' source.
    private func resampledRows(_ windows: ResamplingWindows, from origin: Int) -> Plane {
        let width = size.width
        return Plane(size: PixelSize(height: windows.starts.count, width: width)) { out in
            var sums = [Double](repeating: 0, count: width)
            values.withUnsafeBufferPointer { source in
                sums.withUnsafeMutableBufferPointer { sums in
                    for row in 0..<windows.starts.count {
                        for column in 0..<width { sums[column] = 0 }
                        for tap in 0..<windows.counts[row] {
                            let weight = windows.weights[row &* windows.stride &+ tap]
                            let start = (windows.starts[row] &+ tap &- origin) &* width
                            for column in 0..<width { sums[column] += Double(source[start &+ column]) * weight }
                        }
                        for column in 0..<width { out[row &* width &+ column] = Float(sums[column]) }
                    }
                }
            }
        }
    }
}
