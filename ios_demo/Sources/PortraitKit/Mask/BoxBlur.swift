extension Plane {
    /// Three box blurs, edges repeated; it equals the toolkit's `imaging.foreground.blur` up to rounding.
    ///
    /// - Parameter radius: in pixels, rounded half to even, at least 1 and less than the shorter side.
    func blurred(radius: Double) -> Plane {
        let reach = max(1, min(roundHalfToEven(radius), min(size.height, size.width) - 1))
        var plane = self
        for _ in 0..<3 { plane = plane.boxBlurredAlongRows(reach).boxBlurredAlongColumns(reach) }
        return plane
    }

    /// The mean of 2r + 1 neighbours in each row, at a cost that does not grow with r.
    private func boxBlurredAlongRows(_ reach: Int) -> Plane {
        let (height, width) = (size.height, size.width)
        let share = 1 / Double(2 * reach + 1)
        return Plane(size: size) { out in
            values.withUnsafeBufferPointer { source in
                for row in 0..<height {
                    let start = row * width
                    var sum = 0.0
                    for offset in -reach...reach {
                        sum += Double(source[start + min(width - 1, max(0, offset))])
                    }
                    for column in 0..<width {
                        out[start + column] = Float(sum * share)
                        sum += Double(source[start + min(width - 1, column + reach + 1)])
                        sum -= Double(source[start + max(0, column - reach)])
                    }
                }
            }
        }
    }

    /// The mean of 2r + 1 neighbours in each column.
    private func boxBlurredAlongColumns(_ reach: Int) -> Plane {
        let (height, width) = (size.height, size.width)
        let share = 1 / Double(2 * reach + 1)
        return Plane(size: size) { out in
            var sums = [Double](repeating: 0, count: width)
            values.withUnsafeBufferPointer { source in
                sums.withUnsafeMutableBufferPointer { sums in
                    for offset in -reach...reach {
                        let start = min(height - 1, max(0, offset)) * width
                        for column in 0..<width { sums[column] += Double(source[start + column]) }
                    }
                    for row in 0..<height {
                        let entering = min(height - 1, row + reach + 1) * width
                        let leaving = max(0, row - reach) * width
                        for column in 0..<width {
                            out[row * width + column] = Float(sums[column] * share)
                            sums[column] += Double(source[entering + column]) - Double(source[leaving + column])
                        }
                    }
                }
            }
        }
    }
}
