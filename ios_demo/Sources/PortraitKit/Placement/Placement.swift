/// A rectangle of whole pixels; `bottom` and `right` are just outside it.
public struct Box: Hashable, Sendable {
    /// The first row.
    public let top: Int
    /// The first column.
    public let left: Int
    /// The row after the last.
    public let bottom: Int
    /// The column after the last.
    public let right: Int

    /// A rectangle from (`top`, `left`) to just before (`bottom`, `right`).
    public init(top: Int, left: Int, bottom: Int, right: Int) {
        self.top = top
        self.left = left
        self.bottom = bottom
        self.right = right
    }

    /// All of a raster.
    public init(covering size: PixelSize) {
        self.init(top: 0, left: 0, bottom: size.height, right: size.width)
    }

    /// The rectangle of size `inner` in the middle of `outer`; an odd remainder goes to the bottom and right.
    init(_ inner: PixelSize, centeredIn outer: PixelSize) {
        let top = (outer.height - inner.height) / 2
        let left = (outer.width - inner.width) / 2
        self.init(top: top, left: left, bottom: top + inner.height, right: left + inner.width)
    }

    /// Rows and columns of the rectangle.
    public var size: PixelSize { PixelSize(height: bottom - top, width: right - left) }
}

/// Which part of a photo is where in a model's frame. Neither box is ever empty.
public struct Placement: Hashable, Sendable {
    /// The size of the photo.
    public let photo: PixelSize
    /// The size of the frame, which is the network's input.
    public let frame: PixelSize
    /// The part of the photo that the model sees, in photo pixels.
    public let source: Box
    /// Where that part is in the frame, in frame pixels; the rest of the frame is black padding.
    public let target: Box

    /// Places a photo of one size into a frame of another.
    ///
    /// With r = frame/photo per axis, the scale is
    ///
    ///     stretch  (r_H, r_W): the whole photo, its aspect ratio ignored;
    ///     fit      min(r_H, r_W): the whole photo, centred on black padding;
    ///     fill     max(r_H, r_W): the frame covered, the middle of the photo seen;
    ///     crop     min(1, max(r_H, r_W)): as fill, but a photo smaller than the frame is padded, never enlarged.
    ///
    /// Sides are rounded half to even to whole pixels, at least 1. It equals the toolkit's `placement.place`.
    ///
    /// - Parameters:
    ///   - photo: the size of the photo, at least 1x1.
    ///   - frame: the size of the frame, at least 1x1.
    ///   - policy: how the photo is brought to the frame.
    public init(photo: PixelSize, frame: PixelSize, policy: PortraitSpec.ResizePolicy) {
        let vertical = Double(frame.height) / Double(photo.height)
        let horizontal = Double(frame.width) / Double(photo.width)
        let scale: (vertical: Double, horizontal: Double)
        switch policy {
        case .stretch: scale = (vertical, horizontal)
        case .fit: scale = (min(vertical, horizontal), min(vertical, horizontal))
        case .fill: scale = (max(vertical, horizontal), max(vertical, horizontal))
        case .crop:
            let unmagnified = min(1, max(vertical, horizontal))
            scale = (unmagnified, unmagnified)
        }
        let seen = PixelSize(
            height: Self.side(Double(frame.height) / scale.vertical, atMost: photo.height),
            width: Self.side(Double(frame.width) / scale.horizontal, atMost: photo.width)
        )
        let covered = PixelSize(
            height: Self.side(Double(photo.height) * scale.vertical, atMost: frame.height),
            width: Self.side(Double(photo.width) * scale.horizontal, atMost: frame.width)
        )
        self.photo = photo
        self.frame = frame
        source = Box(seen, centeredIn: photo)
        target = Box(covered, centeredIn: frame)
    }

    private static func side(_ length: Double, atMost limit: Int) -> Int {
        min(limit, max(1, roundHalfToEven(length)))
    }
}
