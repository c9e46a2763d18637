/// One float per pixel, row by row without padding: a mask, a depth map, brightness.
public struct Plane: Equatable, Sendable {
    /// Rows and columns.
    public let size: PixelSize
    /// `size.height * size.width` values.
    public let values: [Float]

    /// A plane of given values.
    ///
    /// - Throws: `PortraitError.sampleCount` if they do not fill it, `PortraitError.outOfRange` without any values.
    public init(size: PixelSize, values: [Float]) throws(PortraitError) {
        guard values.count == size.pixelCount else {
            throw PortraitError.sampleCount(expected: size.pixelCount, found: values.count)
        }
        guard size.height > 0, size.width > 0 else {
            throw PortraitError.outOfRange(what: "A plane's value count", allowed: "1 or more", found: 0)
        }
        self.init(whole: size, values: values)
    }

    /// A plane that holds one value everywhere; sides below 1 count as 1.
    public init(size: PixelSize, constant: Float) {
        let size = PixelSize(height: max(1, size.height), width: max(1, size.width))
        self.init(whole: size, values: [Float](repeating: constant, count: size.pixelCount))
    }

    /// A plane whose values are known to fill it.
    init(whole size: PixelSize, values: [Float]) {
        self.size = size
        self.values = values
    }

    /// A plane whose values `fill` writes, every one of them.
    init(size: PixelSize, fill: (UnsafeMutableBufferPointer<Float>) -> Void) {
        self.init(
            whole: size,
            values: [Float](unsafeUninitializedCapacity: size.pixelCount) { buffer, initialized in
                fill(buffer)
                initialized = size.pixelCount
            }
        )
    }

    /// The same shape with every value changed by `change`.
    func map(_ change: (Float) -> Float) -> Plane {
        Plane(size: size) { out in
            values.withUnsafeBufferPointer { source in
                for index in out.indices { out[index] = change(source[index]) }
            }
        }
    }

    /// Two planes of one size, value by value.
    func combined(with other: Plane, _ combine: (Float, Float) -> Float) -> Plane {
        Plane(size: size) { out in
            values.withUnsafeBufferPointer { left in
                other.values.withUnsafeBufferPointer { right in
                    for index in out.indices { out[index] = combine(left[index], right[index]) }
                }
            }
        }
    }

    func requireSize(_ expected: PixelSize, what: String) throws(PortraitError) {
        guard size == expected else {
            throw PortraitError.sizeMismatch(what: what, expected: expected, found: size)
        }
    }

    /// Whether no value is NaN or an infinity.
    var isFinite: Bool { values.allSatisfy(\.isFinite) }

    /// Throws unless every value is within 0..1; NaN is not.
    func requireProbability() throws(PortraitError) {
        var low = Float.infinity
        var high = -Float.infinity
        var defined = true
        values.withUnsafeBufferPointer { source in
            for value in source {
                low = value < low ? value : low
                high = value > high ? value : high
                defined = defined && value == value
            }
        }
        guard defined, low >= 0, high <= 1 else {
            throw PortraitError.notAProbability(low: defined ? low : .nan, high: defined ? high : .nan)
        }
    }
}
