import Foundation

/// Why an ICC profile cannot be used.
enum ColorProfileError: Error, CustomStringConvertible {
    case damaged
    case notMatrix(space: String)

    var description: String {
        switch self {
        case .damaged: return "it is damaged"
        case .notMatrix(let space): return "it is not an RGB profile of three curves and a matrix (\(space))"
        }
    }
}

/// An ICC profile of three curves and a matrix, such as Display P3 of a phone's photos, converted to sRGB.
///
/// ICC.1:2022, section F.3: linear = curve(sample), XYZ = M·linear relative to D50; sRGB's own matrix and curve lead
/// back. The toolkit converts through littlecms, which computes in fixed point: results differ by one step at most.
struct ColorProfile {
    private let isSRGB: Bool
    private let curves: [[Float]]  // three tables of 256 linear values
    private let matrix: [Float]  // linear RGB of the profile to linear sRGB, by rows

    /// XYZ relative to D50 to linear sRGB, Bradford-adapted (IEC 61966-2-1 primaries).
    private static let toSRGB: [Double] = [
        3.1338561, -1.6168667, -0.4906146, -0.9787684, 1.9161415, 0.0334540, 0.0719453, -0.2289914, 1.4052427,
    ]

    init(_ bytes: [UInt8]) throws {
        let reader = ProfileReader(bytes: bytes)
        isSRGB = try reader.description().hasPrefix("sRGB")
        guard !isSRGB else {
            curves = []
            matrix = []
            return
        }
        let space = try reader.text(at: 16, count: 4)
        guard space == "RGB ", !reader.has("A2B0"), reader.has("rXYZ"), reader.has("rTRC") else {
            throw ColorProfileError.notMatrix(space: space)
        }
        curves = try ["rTRC", "gTRC", "bTRC"].map { try reader.curve($0) }
        let columns = try ["rXYZ", "gXYZ", "bXYZ"].map { try reader.xyz($0) }
        matrix = (0..<9).map { index in
            let (row, column) = (index / 3, index % 3)
            return Float((0..<3).reduce(0.0) { $0 + Self.toSRGB[row * 3 + $1] * columns[column][$1] })
        }
    }

    /// Converts RGB samples to sRGB.
    func convert(_ samples: inout [UInt8]) {
        guard !isSRGB else { return }
        for pixel in stride(from: 0, to: samples.count, by: 3) {
            let linear = (0..<3).map { curves[$0][Int(samples[pixel + $0])] }
            for channel in 0..<3 {
                let row = channel * 3
                let value = matrix[row] * linear[0] + matrix[row + 1] * linear[1] + matrix[row + 2] * linear[2]
                samples[pixel + channel] = Self.encoded(value)
            }
        }
    }

    /// Linear light 0..1 as an sRGB byte; IEC 61966-2-1.
    private static func encoded(_ linear: Float) -> UInt8 {
        let value = min(1, max(0, linear))
        let share = value <= 0.0031308 ? 12.92 * value : 1.055 * pow(value, 1 / 2.4) - 0.055
        return UInt8((share * 255).rounded())
    }
}

/// Reads tags of an ICC profile, checking every offset.
private struct ProfileReader {
    let bytes: [UInt8]

    func number(at offset: Int, bytes count: Int) throws -> Int {
        guard offset >= 0, offset + count <= bytes.count else { throw ColorProfileError.damaged }
        return bytes[offset..<(offset + count)].reduce(0) { $0 << 8 | Int($1) }
    }

    func text(at offset: Int, count: Int) throws -> String {
        guard offset >= 0, count >= 0, offset + count <= bytes.count else { throw ColorProfileError.damaged }
        return String(decoding: bytes[offset..<(offset + count)], as: UTF8.self)
    }

    /// s15Fixed16.
    func fixed(at offset: Int) throws -> Double {
        Double(Int32(truncatingIfNeeded: try number(at: offset, bytes: 4))) / 65536
    }

    func offset(of tag: String) throws -> Int {
        for index in 0..<min(100, try number(at: 128, bytes: 4)) where try text(at: 132 + index * 12, count: 4) == tag {
            return try number(at: 136 + index * 12, bytes: 4)
        }
        throw ColorProfileError.damaged
    }

    func has(_ tag: String) -> Bool { (try? offset(of: tag)) != nil }

    /// The profile's name, of type `desc` (ASCII) or `mluc` (UTF-16).
    func description() throws -> String {
        let start = try offset(of: "desc")
        if try text(at: start, count: 4) == "desc" {
            return try text(at: start + 12, count: max(0, number(at: start + 8, bytes: 4) - 1))
        }
        let (length, place) = (try number(at: start + 20, bytes: 4), try number(at: start + 24, bytes: 4))
        let units = try (0..<(length / 2)).map { UInt16(try number(at: start + place + $0 * 2, bytes: 2)) }
        return String(decoding: units, as: UTF16.self)
    }

    func xyz(_ tag: String) throws -> [Double] {
        let start = try offset(of: tag)
        return try (0..<3).map { try fixed(at: start + 8 + $0 * 4) }
    }

    /// A curve as the linear values of the samples 0 to 255.
    func curve(_ tag: String) throws -> [Float] {
        let start = try offset(of: tag)
        let evaluate = try text(at: start, count: 4) == "para" ? parametric(at: start) : sampled(at: start)
        return (0..<256).map { Float(evaluate(Double($0) / 255)) }
    }

    private func sampled(at start: Int) throws -> (Double) -> Double {
        let count = try number(at: start + 8, bytes: 4)
        if count == 0 { return { $0 } }
        if count == 1 {
            let gamma = Double(try number(at: start + 12, bytes: 2)) / 256
            return { pow($0, gamma) }
        }
        let table = try (0..<count).map { Double(try number(at: start + 12 + $0 * 2, bytes: 2)) / 65535 }
        return { share in
            let position = share * Double(count - 1)
            let below = min(count - 2, Int(position))
            return table[below] + (table[below + 1] - table[below]) * (position - Double(below))
        }
    }

    /// ICC.1:2022, table 68: (a·x + b)^g + e where x ≥ d, else c·x + f; each type has more of the parameters.
    private func parametric(at start: Int) throws -> (Double) -> Double {
        let counts = [1, 3, 4, 5, 7]
        let type = try number(at: start + 8, bytes: 2)
        guard type < counts.count else { throw ColorProfileError.damaged }
        let p = try (0..<counts[type]).map { try fixed(at: start + 12 + $0 * 4) }
        switch type {
        case 0: return { pow($0, p[0]) }
        case 1: return { $0 >= -p[2] / p[1] ? pow(p[1] * $0 + p[2], p[0]) : 0 }
        case 2: return { $0 >= -p[2] / p[1] ? pow(p[1] * $0 + p[2], p[0]) + p[3] : p[3] }
        case 3: return { $0 >= p[4] ? pow(p[1] * $0 + p[2], p[0]) : p[3] * $0 }
        default: return { $0 >= p[4] ? pow(p[1] * $0 + p[2], p[0]) + p[5] : p[3] * $0 + p[6] }
        }
    }
}
