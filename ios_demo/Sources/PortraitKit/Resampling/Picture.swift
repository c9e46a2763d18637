/// 8-bit pixels, row by row without padding: gray, sRGB, or sRGB with straight (unassociated) alpha.
public struct Picture: Equatable, Sendable {
    /// Rows and columns.
    public let size: PixelSize
    /// 1 (gray), 3 (red, green, blue) or 4 (red, green, blue, alpha).
    public let channels: Int
    /// `size.height * size.width * channels` samples in 0..255; a pixel's channels follow one another.
    public let samples: [UInt8]

    /// A picture of given samples.
    ///
    /// - Throws: `PortraitError.sampleCount` if they do not fill it, `PortraitError.outOfRange` without any pixels.
    public init(size: PixelSize, channels: Int, samples: [UInt8]) throws(PortraitError) {
        let expected = size.pixelCount * channels
        guard samples.count == expected else {
            throw PortraitError.sampleCount(expected: expected, found: samples.count)
        }
        guard size.height > 0, size.width > 0 else {
            throw PortraitError.outOfRange(what: "A picture's pixel count", allowed: "1 or more", found: 0)
        }
        self.init(whole: size, channels: channels, samples: samples)
    }

    /// A picture whose samples are known to fill it.
    init(whole size: PixelSize, channels: Int, samples: [UInt8]) {
        self.size = size
        self.channels = channels
        self.samples = samples
    }

    /// A picture whose samples `fill` writes, every one of them.
    init(size: PixelSize, channels: Int, fill: (UnsafeMutableBufferPointer<UInt8>) -> Void) {
        let count = size.pixelCount * channels
        self.init(
            whole: size, channels: channels,
            samples: [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
                fill(buffer)
                initialized = count
            }
        )
    }

    func requireChannels(_ expected: Int, what: String) throws(PortraitError) {
        guard channels == expected else {
            throw PortraitError.channels(what: what, expected: expected, found: channels)
        }
    }
}
