/// How an accelerator left a mask in memory: rows and columns a number of bytes apart, rows often padded.
///
/// Reading such a buffer as if it were dense shears the mask, so every mask is read through its strides.
public struct StridedSamples: Equatable, Sendable {
    /// The type of one sample, in the machine's byte order.
    public enum Format: Sendable {
        /// 0..255, which becomes 0..1.
        case uint8
        /// IEEE 754 half precision.
        case float16
        /// IEEE 754 single precision.
        case float32

        /// Bytes of one sample.
        public var byteCount: Int {
            switch self {
            case .uint8: return 1
            case .float16: return 2
            case .float32: return 4
            }
        }
    }

    /// Rows and columns of the mask.
    public let size: PixelSize
    /// The type of one sample.
    public let format: Format
    /// Bytes from one row to the next.
    public let rowStride: Int
    /// Bytes from one column to the next.
    public let columnStride: Int

    /// Samples `rowStride` and `columnStride` bytes apart; without a column stride those of a row follow one another.
    public init(size: PixelSize, format: Format, rowStride: Int, columnStride: Int? = nil) {
        self.size = size
        self.format = format
        self.rowStride = rowStride
        self.columnStride = columnStride ?? format.byteCount
    }

    /// The last two dimensions of an array whose others are 1, such as an `MLMultiArray` of shape [1, 1, H, W].
    ///
    /// - Parameters:
    ///   - shape: the array's shape.
    ///   - strides: in samples, as `MLMultiArray.strides` are.
    ///   - format: the type of one sample.
    /// - Throws: `PortraitError.outOfRange` if the array is not one mask.
    public init(shape: [Int], strides: [Int], format: Format) throws(PortraitError) {
        guard shape.count >= 2, strides.count == shape.count, shape.dropLast(2).allSatisfy({ $0 == 1 }) else {
            let count = shape.dropLast(2).reduce(1, *)
            throw PortraitError.outOfRange(what: "The number of masks in \(shape)", allowed: "1", found: Double(count))
        }
        let size = PixelSize(height: shape[shape.count - 2], width: shape[shape.count - 1])
        self.init(
            size: size, format: format, rowStride: strides[shape.count - 2] * format.byteCount,
            columnStride: strides[shape.count - 1] * format.byteCount
        )
    }

    /// How many bytes the samples reach into their buffer.
    public var byteCount: Int {
        (size.height - 1) * rowStride + (size.width - 1) * columnStride + format.byteCount
    }

    /// Reads the mask out of its buffer.
    ///
    /// - Parameter buffer: begins with the mask's first sample.
    /// - Returns: values as stored; those of `uint8` divided by 255.
    /// - Throws: `PortraitError.buffer` if the samples reach beyond it, `PortraitError.outOfRange` for a mask without
    ///   pixels or with strides below 0.
    public func plane(from buffer: UnsafeRawBufferPointer) throws(PortraitError) -> Plane {
        let least = min(size.height, size.width, 1 + min(rowStride, columnStride))
        guard least >= 1 else {
            throw PortraitError.outOfRange(what: "A mask's sides", allowed: "1 or more", found: Double(least))
        }
        guard byteCount <= buffer.count else { throw PortraitError.buffer(needed: byteCount, found: buffer.count) }
        return Plane(size: size) { out in
            for row in 0..<size.height {
                let start = row * rowStride
                let rowOut = UnsafeMutableBufferPointer(rebasing: out[(row * size.width)..<((row + 1) * size.width)])
                switch format {
                case .uint8:
                    for column in 0..<size.width { rowOut[column] = Float(buffer[start + column * columnStride]) / 255 }
                case .float16:
                    for column in 0..<size.width {
                        let bits = buffer.loadUnaligned(fromByteOffset: start + column * columnStride, as: UInt16.self)
                        rowOut[column] = Float(halfBits: bits)
                    }
                case .float32:
                    for column in 0..<size.width {
                        rowOut[column] = buffer.loadUnaligned(
                            fromByteOffset: start + column * columnStride, as: Float.self)
                    }
                }
            }
        }
    }
}

extension Float {
    /// The value of an IEEE 754 half. `Float16` does not exist on every platform that this runs on.
    init(halfBits bits: UInt16) {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10) & 0x1f
        let fraction = UInt32(bits & 0x3ff)
        switch exponent {
        case 0:  // zero and subnormals: fraction · 2^-24, exact in single precision
            let magnitude = Float(fraction) * 0x1p-24
            self = Float(bitPattern: sign | magnitude.bitPattern)
        case 0x1f: self = Float(bitPattern: sign | 0x7f80_0000 | fraction << 13)
        default: self = Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
        }
    }
}
