import PortraitKit
import Testing

@Suite struct ResamplingTests {
    struct Row: Decodable, Sendable, CustomTestStringConvertible {
        let name, filter: String
        let seed: Int
        let shape: [Int]
        let region: [Int]?
        let expected: Packed

        var testDescription: String { name }
    }

    @Test(arguments: try Fixture.rows("resampling", as: Row.self))
    func bytesEqualPillows(_ row: Row) throws {
        var draws = SplitMix64(seed: row.seed)
        let picture = try draws.picture(PixelSize(row.shape), channels: row.shape[2])
        let filter: ResamplingFilter = row.filter == "bicubic" ? .bicubic : .bilinear
        let resampled = picture.resampled(region: row.region.map { Box($0) }, to: row.expected.size, filter: filter)
        #expect(try resampled == row.expected.picture())
    }

    @Test func samplesMustFillThePicture() {
        let size = PixelSize(height: 2, width: 2)
        #expect(throws: PortraitError.sampleCount(expected: 12, found: 11)) {
            try Picture(size: size, channels: 3, samples: [UInt8](repeating: 0, count: 11))
        }
        #expect(throws: PortraitError.sampleCount(expected: 4, found: 0)) { try Plane(size: size, values: []) }
        #expect(throws: PortraitError.self) {
            try Picture(size: PixelSize(height: 0, width: 3), channels: 3, samples: [])
        }
    }
}
