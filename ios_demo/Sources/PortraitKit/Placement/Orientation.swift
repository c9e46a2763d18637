/// How a stored picture is turned to be upright: the EXIF orientation, 1 to 8.
public enum Orientation: Int, CaseIterable, Sendable {
    /// As stored.
    case upright = 1
    /// Mirrored from left to right.
    case mirrored = 2
    /// Turned by 180 degrees.
    case rotated180 = 3
    /// Mirrored from top to bottom.
    case flipped = 4
    /// Mirrored along the diagonal from the top left.
    case transposed = 5
    /// Stored turned; upright after a quarter turn clockwise.
    case rotated90Clockwise = 6
    /// Mirrored along the diagonal from the top right.
    case transversed = 7
    /// Stored turned; upright after a quarter turn counterclockwise.
    case rotated90Counterclockwise = 8

    /// Whether rows become columns.
    public var swapsSides: Bool { rawValue >= 5 }

    /// The size of the upright picture.
    public func upright(_ stored: PixelSize) -> PixelSize {
        swapsSides ? PixelSize(height: stored.width, width: stored.height) : stored
    }

    /// Where the pixel of the upright picture is stored.
    @inline(__always)
    func stored(row: Int, column: Int, in size: PixelSize) -> (row: Int, column: Int) {
        let (lastRow, lastColumn) = (size.height - 1, size.width - 1)
        switch self {
        case .upright: return (row, column)
        case .mirrored: return (row, lastColumn - column)
        case .rotated180: return (lastRow - row, lastColumn - column)
        case .flipped: return (lastRow - row, column)
        case .transposed: return (column, row)
        case .rotated90Clockwise: return (lastRow - column, row)
        case .transversed: return (lastRow - column, lastColumn - row)
        case .rotated90Counterclockwise: return (column, lastColumn - row)
        }
    }
}

extension Picture {
    /// The picture as people see it.
    public func upright(from orientation: Orientation) -> Picture {
        if orientation == .upright { return self }
        let target = orientation.upright(size)
        return Picture(size: target, channels: channels) { out in
            samples.withUnsafeBufferPointer { source in
                for row in 0..<target.height {
                    for column in 0..<target.width {
                        let from = orientation.stored(row: row, column: column, in: size)
                        let start = (from.row * size.width + from.column) * channels
                        let end = (row * target.width + column) * channels
                        for channel in 0..<channels { out[end + channel] = source[start + channel] }
                    }
                }
            }
        }
    }
}

extension Plane {
    /// The plane as people see the picture that it belongs to.
    public func upright(from orientation: Orientation) -> Plane {
        if orientation == .upright { return self }
        let target = orientation.upright(size)
        return Plane(size: target) { out in
            values.withUnsafeBufferPointer { source in
                for row in 0..<target.height {
                    for column in 0..<target.width {
                        let from = orientation.stored(row: row, column: column, in: size)
                        out[row * target.width + column] = source[from.row * size.width + from.column]
                    }
                }
            }
        }
    }
}
