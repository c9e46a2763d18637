import PortraitKit
import Testing

@Suite struct TemporalSmootherTests {
    struct Row: Decodable, Sendable {
        let frame, mask, expected: Packed
        let startsScene: Bool
    }

    @Test func aSequenceEqualsPythons() throws {
        let rows = try Fixture.rows("sequences", as: Row.self)
        #expect(rows.map(\.startsScene) == [true, false, false, false, false, true, false])
        var smoother = TemporalSmoother()
        for row in rows {
            let (mask, startsScene) = try smoother.smooth(row.mask.plane(), of: row.frame.picture())
            #expect(startsScene == row.startsScene)
            #expect(try largestDifference(mask, row.expected.plane()) <= MaskTests.floatTolerance)
        }
    }

    /// Masks that tremble over a still picture come out trembling at most a third as much.
    @Test func edgesOfAStillSceneStayStill() throws {
        let rows = try Fixture.rows("sequences", as: Row.self)
        let frame = try rows[0].frame.picture()
        let masks = try rows.prefix(5).map { try $0.mask.plane() }
        var smoother = TemporalSmoother()
        let smoothed = try masks.map { try smoother.smooth($0, of: frame).mask }
        let raw = try Flicker.of(masks)
        let still = try Flicker.of(smoothed)
        #expect(raw > 0.05)
        #expect(still < raw / 3)
    }

    /// Where the picture changes, the new mask counts in full.
    @Test func aMovingPersonIsFollowedAtOnce() throws {
        let size = PixelSize(height: 16, width: 64)
        func frame(_ left: Int) throws -> (Picture, Plane) {
            let inside = (0..<size.pixelCount).map { (left..<(left + 8)).contains($0 % size.width) }
            let samples = inside.flatMap { [UInt8](repeating: $0 ? 200 : 90, count: 3) }
            return (
                try Picture(size: size, channels: 3, samples: samples),
                try Plane(size: size, values: inside.map { $0 ? 1 : 0 })
            )
        }
        var smoother = TemporalSmoother()
        let (first, firstMask) = try frame(10)
        let (second, secondMask) = try frame(13)
        _ = try smoother.smooth(firstMask, of: first)
        let (mask, startsScene) = try smoother.smooth(secondMask, of: second)
        #expect(!startsScene)
        #expect(largestDifference(mask, secondMask) < 1e-6)
    }

    @Test func aResetOrAnotherSizeStartsAScene() throws {
        let small = PixelSize(height: 2, width: 2)
        let large = PixelSize(height: 3, width: 2)
        let black = { (size: PixelSize) in
            try Picture(size: size, channels: 3, samples: [UInt8](repeating: 0, count: size.pixelCount * 3))
        }
        var smoother = TemporalSmoother()
        #expect(try smoother.smooth(Plane(size: small, constant: 1), of: black(small)).startsScene)
        #expect(try !smoother.smooth(Plane(size: small, constant: 0), of: black(small)).startsScene)
        #expect(try smoother.smooth(Plane(size: large, constant: 0), of: black(large)).startsScene)
        smoother.reset()
        #expect(smoother == TemporalSmoother())
        #expect(try smoother.smooth(Plane(size: large, constant: 0), of: black(large)).startsScene)
        #expect(throws: PortraitError.sizeMismatch(what: "mask", expected: large, found: small)) {
            _ = try smoother.smooth(Plane(size: small, constant: 0), of: black(large))
        }
    }
}
