/// One picture as a model takes it.
public struct Frame: Equatable, Sendable {
    /// The photo at the network's input size, sRGB, three channels.
    public let image: Picture
    /// The depth map at the same size, for depth models.
    public let depth: Plane?

    /// A picture that already has the network's input size, with a depth map of the same size for depth models.
    ///
    /// - Throws: `PortraitError.channels` or `PortraitError.sizeMismatch`.
    public init(image: Picture, depth: Plane? = nil) throws(PortraitError) {
        try image.requireChannels(3, what: "frame")
        try depth?.requireSize(image.size, what: "depth map")
        self.image = image
        self.depth = depth
    }
}

extension Placement {
    /// Brings a photo to the frame: antialiased bilinear, black where it does not cover the frame.
    ///
    /// It equals the toolkit's `placement.to_frame`, byte for byte.
    ///
    /// - Parameter photo: of size `self.photo`, three channels.
    /// - Returns: three channels at size `frame`.
    /// - Throws: `PortraitError.sizeMismatch` or `PortraitError.channels`.
    public func image(of photo: Picture) throws(PortraitError) -> Picture {
        try photo.requireChannels(3, what: "photo")
        guard photo.size == self.photo else {
            throw PortraitError.sizeMismatch(what: "photo", expected: self.photo, found: photo.size)
        }
        let seen = photo.resampled(region: source, to: target.size)
        if target == Box(covering: frame) { return seen }
        let rowLength = target.size.width * 3
        return Picture(size: frame, channels: 3) { out in
            out.initialize(repeating: 0)
            for row in 0..<target.size.height {
                let start = ((target.top + row) * frame.width + target.left) * 3
                for index in 0..<rowLength { out[start + index] = seen.samples[row * rowLength + index] }
            }
        }
    }

    /// Takes a photo's depth map through the photo's placement: the same part of the view, at whatever resolution.
    ///
    /// - Parameter map: covers what the photo covers, finite values.
    /// - Returns: values at size `frame`, 0 where the photo does not cover it.
    /// - Throws: `PortraitError.depthNotFinite`.
    public func depth(of map: Plane) throws(PortraitError) -> Plane {
        guard map.isFinite else { throw PortraitError.depthNotFinite }
        let perRow = Double(map.size.height) / Double(photo.height)
        let perColumn = Double(map.size.width) / Double(photo.width)
        let box = FractionalBox(
            left: Float(Double(source.left) * perColumn), top: Float(Double(source.top) * perRow),
            right: Float(Double(source.right) * perColumn), bottom: Float(Double(source.bottom) * perRow)
        )
        return map.resampled(box: box, to: target.size).placed(at: target, in: frame)
    }

    /// Brings a mask at the frame's size back to the photo's resolution, bilinear.
    ///
    /// What the model did not see (outside `source`) is 0: not looked at, so not claimed to be a person. It equals the
    /// toolkit's `placement.mask_back`, bit for bit.
    ///
    /// - Parameter mask: P(person) in 0..1 at size `frame`.
    /// - Returns: P(person) in 0..1 at size `photo`.
    /// - Throws: `PortraitError.sizeMismatch`.
    public func maskBack(_ mask: Plane) throws(PortraitError) -> Plane {
        try mask.requireSize(frame, what: "mask")
        // Interpolation weights sum to 1 only up to rounding, so a mask of ones could come back as 1.0000001.
        let back = mask.resampled(region: target, to: source.size).map { min(1, max(0, $0)) }
        return back.placed(at: source, in: photo)
    }
}

extension Plane {
    /// The plane within a larger one of zeros.
    func placed(at box: Box, in whole: PixelSize) -> Plane {
        if box == Box(covering: whole) { return self }
        return Plane(size: whole) { out in
            out.initialize(repeating: 0)
            for row in 0..<size.height {
                for column in 0..<size.width {
                    out[(box.top + row) * whole.width + box.left + column] = values[row * size.width + column]
                }
            }
        }
    }
}
