import PortraitKit
import Testing

@Suite struct MaskTests {
    struct Row: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let photo: Packed?
        let mask, expected: Packed
        let radius, share: Double?

        var testDescription: String { name + (share.map { " \($0)" } ?? "") }
    }

    /// Single precision and another order of sums: the largest difference seen was 6e-7.
    static let floatTolerance: Float = 1e-5

    @Test(arguments: try Fixture.rows("refinements", as: Row.self))
    func refinementsEqualPythons(_ row: Row) throws {
        let mask = try row.mask.plane()
        let refined: Plane
        switch row.name {
        case "guided": refined = try GuidedFilter().addDetail(to: mask, along: #require(row.photo).picture())
        case "feathered": refined = mask.feathered(radius: try #require(row.radius))
        default: refined = mask.withoutIslands(share: try #require(row.share))
        }
        #expect(try largestDifference(refined, row.expected.plane()) <= Self.floatTolerance)
    }

    struct LogitsRow: Decodable, Sendable { let logits, expected: Packed }

    @Test func probabilitiesOfLogitsEqualTorchs() throws {
        let rows = try Fixture.rows("logits", as: LogitsRow.self)
        #expect(rows.count == 5)
        for row in rows {
            let found = try row.logits.plane().probability(ofLogitsAt: row.expected.size)
            #expect(try largestDifference(found, row.expected.plane()) <= Self.floatTolerance)
        }
    }

    @Test func aMaskWithoutPeopleStaysAsItIs() {
        let faint = Plane(size: PixelSize(height: 3, width: 3), constant: 0.2)
        #expect(faint.withoutIslands() == faint)
        #expect(faint.thresholded() == Plane(size: faint.size, constant: 0))
        #expect(faint.thresholded(at: 0.2) == Plane(size: faint.size, constant: 1))
        #expect(faint.feathered(radius: 0, threshold: 0.2) == Plane(size: faint.size, constant: 1))
    }

    struct StridedRow: Decodable, Sendable, CustomTestStringConvertible {
        let name, format: String
        let rowStride, columnStride: Int
        let memory, expected: Packed

        var testDescription: String { name }
        var layout: StridedSamples.Format {
            ["uint8": .uint8, "float16": .float16][format] ?? .float32
        }
    }

    @Test(arguments: try Fixture.rows("strided_masks", as: StridedRow.self))
    func masksAreReadThroughTheirStrides(_ row: StridedRow) throws {
        let samples = StridedSamples(
            size: row.expected.size, format: row.layout, rowStride: row.rowStride, columnStride: row.columnStride)
        let memory = try row.memory.bytes()
        let plane = try memory.withUnsafeBytes { try samples.plane(from: $0) }
        #expect(try plane == row.expected.plane())
        let short = Array(memory.prefix(samples.byteCount - 1))
        #expect(throws: PortraitError.buffer(needed: samples.byteCount, found: short.count)) {
            try short.withUnsafeBytes { try samples.plane(from: $0) }
        }
    }

    @Test func arraysOfOneMaskAreRead() throws {
        let samples = try StridedSamples(shape: [1, 1, 2, 3], strides: [64, 64, 32, 1], format: .float16)
        #expect(samples.size == PixelSize(height: 2, width: 3))
        #expect((samples.rowStride, samples.columnStride) == (64, 2))
        #expect(throws: PortraitError.self) {
            try StridedSamples(shape: [2, 1, 2, 3], strides: [6, 6, 3, 1], format: .float32)
        }
        #expect(throws: PortraitError.self) {
            try [UInt8](repeating: 0, count: 64).withUnsafeBytes {
                try StridedSamples(size: PixelSize(height: 0, width: 3), format: .uint8, rowStride: 3).plane(from: $0)
            }
        }
    }

    struct DigestRow: Decodable, Sendable { let digest: String }

    /// 65,536 halves as a mask of 256x256; those that are not numbers are left out of the digest.
    @Test func everyHalfIsReadExactly() throws {
        let bits = (0...UInt16.max).map { $0 }
        let layout = StridedSamples(size: PixelSize(height: 256, width: 256), format: .float16, rowStride: 512)
        let plane = try bits.withUnsafeBytes { try layout.plane(from: $0) }
        var digest = Digest()
        for value in plane.values where !value.isNaN { digest.add(value) }
        #expect(try Fixture.rows("halves", as: DigestRow.self).map(\.digest) == [digest.hexadecimal])
        #expect(plane.values[0x7c01].isNaN)
    }
}
