/// A rectangle whose origin is the bottom left of its picture, as in Core Image; `Box` counts rows from the top.
public struct UpwardBox: Hashable, Sendable {
    /// Columns left of the rectangle.
    public let x: Int
    /// Rows below the rectangle.
    public let y: Int
    /// Columns of the rectangle.
    public let width: Int
    /// Rows of the rectangle.
    public let height: Int

    /// The same pixels as a box of a picture of size `size`.
    public init(_ box: Box, in size: PixelSize) {
        x = box.left
        y = size.height - box.bottom
        width = box.size.width
        height = box.size.height
    }
}

/// Scales and moves one rectangle onto another: (x, y) → (scaleX·x + offsetX, scaleY·y + offsetY).
public struct UpwardMap: Hashable, Sendable {
    /// Target columns for each source column.
    public let scaleX: Double
    /// Target rows for each source row.
    public let scaleY: Double
    /// Where x = 0 goes.
    public let offsetX: Double
    /// Where y = 0 goes.
    public let offsetY: Double

    /// The map that takes `source` to `target`; neither is empty.
    public init(from source: UpwardBox, to target: UpwardBox) {
        scaleX = Double(target.width) / Double(source.width)
        scaleY = Double(target.height) / Double(source.height)
        offsetX = Double(target.x) - scaleX * Double(source.x)
        offsetY = Double(target.y) - scaleY * Double(source.y)
    }
}

extension Placement {
    /// The part of the photo that the model sees, for Core Image.
    public var upwardSource: UpwardBox { UpwardBox(source, in: photo) }
    /// Where that part is in the frame, for Core Image.
    public var upwardTarget: UpwardBox { UpwardBox(target, in: frame) }
}
