/// What is behind a person whose background is replaced.
public enum Background: Equatable, Sendable {
    /// An sRGB colour.
    case color(red: UInt8, green: UInt8, blue: UInt8)
    /// A picture with three channels, scaled to cover the photo and cropped to its middle.
    case picture(Picture)

    /// White.
    public static let white = Background.color(red: 255, green: 255, blue: 255)
}

/// What is made of a photo and its mask.
public enum Look: Equatable, Sendable {
    /// The mask itself, gray, 255 = person.
    case mask
    /// The person on nothing, with transparency.
    case cutOut
    /// The person on another background.
    case replaced(Background)
    /// The person in front of the blurred background; sigma in pixels, nil takes a share of the diagonal.
    case blurred(sigma: Double?)
    /// The photo with the person tinted in an sRGB colour; opacity 0..1.
    case tinted(red: UInt8, green: UInt8, blue: UInt8, opacity: Float)
}

/// Makes pictures from a photo and its P(person), as the toolkit's `compose` does.
public struct Compositor: Sendable {
    /// An sRGB photo with three channels.
    public let photo: Picture
    /// P(person) in 0..1 at the photo's size.
    public let mask: Plane
    /// Whether soft edges get the person's own colours, which leaves no rim of the old background.
    public let estimatesColors: Bool

    /// A photo and a mask of its size.
    ///
    /// - Parameter estimatesColors: false where every millisecond counts, as in live video.
    /// - Throws: `PortraitError.channels`, `.sizeMismatch`, or `.notAProbability`.
    public init(photo: Picture, mask: Plane, estimatesColors: Bool = true) throws(PortraitError) {
        try photo.requireChannels(3, what: "photo")
        try mask.requireSize(photo.size, what: "mask")
        try mask.requireProbability()
        self.photo = photo
        self.mask = mask
        self.estimatesColors = estimatesColors
    }

    /// The picture of one look.
    ///
    /// - Returns: one channel for `mask`, four for `cutOut`, three for the others.
    /// - Throws: `PortraitError.outOfRange` for a sigma that is not 0 or more or an opacity that is not in 0..1, `.channels` for a background that is not
    ///   in colour.
    public func picture(_ look: Look) throws(PortraitError) -> Picture {
        switch look {
        case .mask: return maskPicture()
        case .cutOut: return cutOut()
        case .replaced(let background): return try replaced(background)
        case .blurred(let sigma): return try blurred(sigma: sigma)
        case .tinted(let red, let green, let blue, let opacity):
            return try tinted(with: (Float(red), Float(green), Float(blue)), opacity: opacity)
        }
    }

    /// The mask as a gray picture, 255 = person, rounded half to even.
    public func maskPicture() -> Picture {
        Picture(size: mask.size, channels: 1) { out in
            mask.values.withUnsafeBufferPointer { mask in
                for index in out.indices { out[index] = byte(mask[index] * 255) }
            }
        }
    }

    /// The person on nothing: four channels with straight alpha = 255·P.
    ///
    /// Colours are the photo's, and the person's own (`foreground`) where half transparent. Where alpha is 0 they are 0
    /// as well: what was cut away is not left in the file.
    public func cutOut() -> Picture {
        let front = front()
        return Picture(size: photo.size, channels: 4) { out in
            front.samples.withUnsafeBufferPointer { photo in
                mask.values.withUnsafeBufferPointer { mask in
                    for index in mask.indices {
                        let alpha = byte(mask[index] * 255)
                        let kept: UInt8 = alpha > 0 ? 255 : 0
                        out[index &* 4] = photo[index &* 3] & kept
                        out[index &* 4 &+ 1] = photo[index &* 3 &+ 1] & kept
                        out[index &* 4 &+ 2] = photo[index &* 3 &+ 2] & kept
                        out[index &* 4 &+ 3] = alpha
                    }
                }
            }
        }
    }

    /// The person on a colour or another picture: P·F + (1 − P)·background, F the photo with the person's own colours.
    ///
    /// - Throws: `PortraitError.channels` for a background picture without three channels.
    public func replaced(_ background: Background) throws(PortraitError) -> Picture {
        switch background {
        case .color(let red, let green, let blue):
            let color = (Float(red), Float(green), Float(blue))
            return mixed { _ in color }
        case .picture(let picture):
            let behind = try picture.covering(photo.size)
            return behind.samples.withUnsafeBufferPointer { behind in
                mixed { index in
                    (Float(behind[index &* 3]), Float(behind[index &* 3 &+ 1]), Float(behind[index &* 3 &+ 2]))
                }
            }
        }
    }

    /// The photo with the person tinted: (1 − opacity·P)·photo + opacity·P·colour.
    ///
    /// - Throws: `PortraitError.outOfRange` for an opacity that is not in 0..1.
    func tinted(with color: (Float, Float, Float), opacity: Float) throws(PortraitError) -> Picture {
        guard opacity >= 0, opacity <= 1 else {
            throw PortraitError.outOfRange(what: "The opacity", allowed: "0 to 1", found: Double(opacity))
        }
        let channels = [color.0, color.1, color.2]
        return Picture(size: photo.size, channels: 3) { out in
            for index in mask.values.indices {
                let share = opacity * mask.values[index]
                for channel in 0..<3 {
                    let own = Float(photo.samples[index &* 3 &+ channel])
                    out[index &* 3 &+ channel] = byte((1 - share) * own + share * channels[channel])
                }
            }
        }
    }

    /// The colours of the person: the estimated ones, or the photo's.
    func front() -> Picture { estimatesColors ? foreground() : photo }

    /// P·F + (1 − P)·behind, where `behind` gives the colour behind a pixel by its index.
    private func mixed(_ behind: (Int) -> (Float, Float, Float)) -> Picture {
        let front = front()
        return Picture(size: photo.size, channels: 3) { out in
            front.samples.withUnsafeBufferPointer { photo in
                mask.values.withUnsafeBufferPointer { mask in
                    for index in mask.indices {
                        let (share, back) = (mask[index], 1 - mask[index])
                        let (red, green, blue) = behind(index)
                        out[index &* 3] = byte(share * Float(photo[index &* 3]) + back * red)
                        out[index &* 3 &+ 1] = byte(share * Float(photo[index &* 3 &+ 1]) + back * green)
                        out[index &* 3 &+ 2] = byte(share * Float(photo[index &* 3 &+ 2]) + back * blue)
                    }
                }
            }
        }
    }
}

extension Picture {
    /// The picture scaled to cover another size and cropped to its middle, bicubic.
    func covering(_ target: PixelSize) throws(PortraitError) -> Picture {
        try requireChannels(3, what: "background")
        let middle = Placement(photo: size, frame: target, policy: .fill).source
        return resampled(region: middle, to: target, filter: .bicubic)
    }
}
