import PortraitKit
import Testing

@Suite struct MetricsTests {
    struct Row: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let a, b: Packed
        let threshold: Float
        let radius: Int?
        let iou, flippedPixels, boundaryF, meanAbsoluteError: Double?

        var testDescription: String { name }
    }

    /// NumPy adds pairwise, PortraitKit in order: doubles differ in their last bits.
    static let summationOrder = 1e-12

    @Test(arguments: try Fixture.rows("mask_pairs", as: Row.self))
    func numbersEqualPythons(_ row: Row) throws {
        let metrics = try MaskMetrics(row.a.plane(), row.b.plane(), threshold: row.threshold, radius: row.radius)
        guard let expected = row.meanAbsoluteError else {
            #expect(metrics.iou.isNaN && metrics.flippedPixels.isNaN)
            #expect(metrics.boundaryF.isNaN && metrics.meanAbsoluteError.isNaN)
            return
        }
        #expect(metrics.iou == row.iou)
        #expect(metrics.flippedPixels == row.flippedPixels)
        #expect(metrics.boundaryF == row.boundaryF)
        #expect(abs(metrics.meanAbsoluteError - expected) <= Self.summationOrder)
    }

    @Test func masksOfDifferentSizesAreRefused() throws {
        let (small, large) = (PixelSize(height: 2, width: 2), PixelSize(height: 2, width: 3))
        #expect(throws: PortraitError.sizeMismatch(what: "second mask", expected: small, found: large)) {
            try MaskMetrics(Plane(size: small, constant: 0), Plane(size: large, constant: 0))
        }
    }

    struct LatencyRow: Decodable, Sendable {
        let runs: [Double]
        let p50, p95: Double
    }

    @Test func percentilesEqualNumPys() throws {
        for row in try Fixture.rows("latencies", as: LatencyRow.self) {
            var statistics = LatencyStatistics(warmUpCount: 0)
            for run in row.runs { statistics.record(milliseconds: run) }
            #expect(statistics.p50 == row.p50)
            #expect(statistics.p95 == row.p95)
        }
    }

    @Test func warmUpIsKeptApart() {
        var statistics = LatencyStatistics(warmUpCount: 2)
        #expect(statistics.p50 == nil)
        for run in [900.0, 80, 3, 1, 2] { statistics.record(milliseconds: run) }
        statistics.record(.milliseconds(4))
        #expect(statistics.warmUp == [900, 80])
        #expect(statistics.measured == [3, 1, 2, 4])
        #expect(statistics.p50 == 2.5)
        #expect(statistics.time { 42 } == 42)
        #expect(statistics.measured.count == 5)
    }
}
