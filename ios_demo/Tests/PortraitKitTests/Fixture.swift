import Foundation
import PortraitKit

/// The tables that Python wrote (`python -m tests.ios_demo.fixtures`).
enum Fixture {
    /// A fixture that is missing or does not hold what it should.
    struct Fault: Error { let text: String }

    /// All rows of a table.
    static func rows<Row: Decodable>(_ name: String, as type: Row.Type = Row.self) throws -> [Row] {
        guard let url = Bundle.module.url(forResource: name, withExtension: "json", subdirectory: "Fixtures") else {
            throw Fault(text: "There is no fixture \(name).json.")
        }
        return try JSONDecoder().decode([Row].self, from: Data(contentsOf: url))
    }
}

/// An array as Python packed it: a shape and base64 of its bytes.
struct Packed: Decodable, Sendable {
    let shape: [Int]
    let base64: String

    var size: PixelSize { PixelSize(height: shape[0], width: shape[1]) }
    var channels: Int { shape.count > 2 ? shape[2] : 1 }

    func bytes() throws -> [UInt8] {
        guard let data = Data(base64Encoded: base64) else { throw Fixture.Fault(text: "This is not base64.") }
        return [UInt8](data)
    }

    func picture() throws -> Picture { try Picture(size: size, channels: channels, samples: bytes()) }

    func plane() throws -> Plane {
        let bytes = try bytes()
        let values = bytes.withUnsafeBytes { raw in
            (0..<(raw.count / 4)).map { index in
                Float(bitPattern: raw.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self).littleEndian)
            }
        }
        return try Plane(size: size, values: values)
    }
}

extension PixelSize {
    /// From Python's `[height, width]`.
    init(_ sides: [Int]) { self.init(height: sides[0], width: sides[1]) }
}

extension Box {
    /// From Python's `[top, left, bottom, right]`.
    init(_ edges: [Int]) { self.init(top: edges[0], left: edges[1], bottom: edges[2], right: edges[3]) }
}

/// The largest difference between two planes of one size; infinite where their sizes differ.
func largestDifference(_ a: Plane, _ b: Plane) -> Float {
    guard a.size == b.size else { return .infinity }
    return zip(a.values, b.values).map { abs($0 - $1) }.max() ?? 0
}

/// The largest difference between two pictures in 8-bit steps; 256 where their shapes differ.
func largestDifference(_ a: Picture, _ b: Picture) -> Int {
    guard a.size == b.size, a.channels == b.channels else { return 256 }
    return zip(a.samples, b.samples).map { abs(Int($0) - Int($1)) }.max() ?? 0
}
