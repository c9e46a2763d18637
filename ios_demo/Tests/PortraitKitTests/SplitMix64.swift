import PortraitKit

/// The random numbers that Python's `tests/ios_demo/random_draws.py` draws too.
struct SplitMix64 {
    private var state: UInt64

    init(seed: Int) { state = UInt64(seed) }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A whole number in 0..<limit.
    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

    mutating func picture(_ size: PixelSize, channels: Int = 3) throws -> Picture {
        let samples = (0..<(size.pixelCount * channels)).map { _ in UInt8(next() >> 56) }
        return try Picture(size: size, channels: channels, samples: samples)
    }

    /// Values in 0..1 of 24 bits.
    mutating func plane(_ size: PixelSize) throws -> Plane {
        let values = (0..<size.pixelCount).map { _ in Float(next() >> 40) / Float(1 << 24) }
        return try Plane(size: size, values: values)
    }
}

/// FNV-1a, 64 bits.
struct Digest {
    private var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ byte: UInt8) { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }

    mutating func add(_ number: Float) {
        withUnsafeBytes(of: number.bitPattern.littleEndian) { for byte in $0 { add(byte) } }
    }

    var hexadecimal: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    static func of(_ picture: Picture) -> String {
        var digest = Digest()
        for sample in picture.samples { digest.add(sample) }
        return digest.hexadecimal
    }

    static func of(_ plane: Plane) -> String {
        var digest = Digest()
        for value in plane.values { digest.add(value) }
        return digest.hexadecimal
    }
}
