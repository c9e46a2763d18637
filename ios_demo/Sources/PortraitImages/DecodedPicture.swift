import PortraitKit

/// What a picture file holds, before orientation, colour profile and transparency are dealt with.
struct DecodedPicture {
    /// Rows and columns as stored.
    let size: PixelSize
    /// 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and straight alpha.
    let channels: Int
    /// The samples; 16-bit ones keep all their bits.
    let samples: Samples
    /// The embedded ICC profile; empty without one.
    let profile: [UInt8]
    /// How to turn the picture upright.
    let orientation: Orientation

    enum Samples {
        case eightBit([UInt8])
        case sixteenBit([UInt16])

        /// 16 bits become 8 by dropping the low byte, as the toolkit does.
        var bytes: [UInt8] {
            switch self {
            case .eightBit(let samples): return samples
            case .sixteenBit(let samples): return samples.map { UInt8($0 >> 8) }
            }
        }

        /// Samples as shares of the largest one, 0..1.
        var shares: [Float] {
            switch self {
            case .eightBit(let samples): return samples.map { Float($0) / 255 }
            case .sixteenBit(let samples): return samples.map { Float($0) / 65535 }
            }
        }
    }

    /// The picture as people see it: upright, opaque, sRGB, three channels; and what could not be honoured.
    func photo() throws(PortraitError) -> (picture: Picture, notes: [String]) {
        let bytes = samples.bytes
        var colors = [UInt8](repeating: 0, count: size.pixelCount * 3)
        for pixel in 0..<size.pixelCount {
            for channel in 0..<3 {
                colors[pixel * 3 + channel] = bytes[pixel * channels + (channels < 3 ? 0 : channel)]
            }
        }
        let notes = applyProfile(to: &colors)
        if channels == 2 || channels == 4 { layOnWhite(&colors, alpha: bytes) }
        let stored = try Picture(size: size, channels: 3, samples: colors)
        return (stored.upright(from: orientation), notes)
    }

    private func applyProfile(to colors: inout [UInt8]) -> [String] {
        guard !profile.isEmpty else { return [] }
        do {
            try ColorProfile(profile).convert(&colors)
            return []
        } catch {
            return ["its colour profile was ignored: \(error)."]
        }
    }

    /// α·colour + (1 − α)·white, by integers as Pillow composites.
    private func layOnWhite(_ colors: inout [UInt8], alpha bytes: [UInt8]) {
        for pixel in 0..<size.pixelCount {
            let alpha = Int(bytes[pixel * channels + channels - 1])
            for channel in 0..<3 {
                let sum = Int(colors[pixel * 3 + channel]) * alpha + 255 * (255 - alpha) + 128
                colors[pixel * 3 + channel] = UInt8(((sum >> 8) + sum) >> 8)
            }
        }
    }
}

extension Orientation {
    /// The orientation in an EXIF block, from its TIFF header on; `upright` where it has none that can be read.
    init(exif: [UInt8]) {
        self = Self.read(exif).flatMap(Orientation.init(rawValue:)) ?? .upright
    }

    private static let tag = 0x0112

    private static func read(_ exif: [UInt8]) -> Int? {
        guard exif.count >= 8 else { return nil }
        let littleEndian = exif[0] == 0x49
        func number(at offset: Int, bytes: Int) -> Int? {
            guard offset >= 0, offset + bytes <= exif.count else { return nil }
            let part = exif[offset..<(offset + bytes)]
            return (littleEndian ? part.reversed() : Array(part)).reduce(0) { $0 << 8 | Int($1) }
        }
        guard let directory = number(at: 4, bytes: 4), let count = number(at: directory, bytes: 2) else { return nil }
        for entry in 0..<count {
            let offset = directory + 2 + entry * 12
            guard let found = number(at: offset, bytes: 2) else { return nil }
            if found == tag { return number(at: offset + 8, bytes: 2) }
        }
        return nil
    }
}
