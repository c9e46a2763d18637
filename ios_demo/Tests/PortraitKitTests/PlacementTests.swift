import PortraitKit
import Testing

@Suite struct PlacementTests {
    struct PlacementRow: Decodable, Sendable {
        let photo, frame, source, target: [Int]
        let policy: String
    }

    @Test func placementsEqualPythons() throws {
        let rows = try Fixture.rows("placements", as: PlacementRow.self)
        #expect(rows.count > 250)
        for row in rows {
            let policy = try #require(PortraitSpec.ResizePolicy(rawValue: row.policy))
            let placement = Placement(photo: PixelSize(row.photo), frame: PixelSize(row.frame), policy: policy)
            #expect(placement.source == Box(row.source), "\(row)")
            #expect(placement.target == Box(row.target), "\(row)")
        }
    }

    struct ClosestRow: Decodable, Sendable {
        let photo, closest: [Int]
        let sizes: [[Int]]
    }

    @Test func theSizeThatSuitsAPhotoEqualsPythons() throws {
        for row in try Fixture.rows("closest_sizes", as: ClosestRow.self) {
            let found = PixelSize.closest(to: PixelSize(row.photo), among: row.sizes.map { PixelSize($0) })
            #expect(found == PixelSize(row.closest), "\(row)")
        }
        #expect(PixelSize.closest(to: PixelSize(height: 1, width: 1), among: []) == nil)
    }

    struct FrameRow: Decodable, Sendable {
        let seed: Int
        let photo, frame, depth: [Int]
        let policy: String
        let image, placedDepth, maskBack: Packed
    }

    @Test(arguments: try Fixture.rows("frames", as: FrameRow.self))
    func framesDepthAndMasksEqualPythons(_ row: FrameRow) throws {
        let policy = try #require(PortraitSpec.ResizePolicy(rawValue: row.policy))
        var draws = SplitMix64(seed: row.seed)
        let photo = try draws.picture(PixelSize(row.photo))
        let depth = try draws.plane(PixelSize(row.depth))
        let mask = try draws.plane(PixelSize(row.frame))
        let placement = Placement(photo: photo.size, frame: PixelSize(row.frame), policy: policy)
        #expect(try placement.image(of: photo) == row.image.picture())
        #expect(try placement.depth(of: depth) == row.placedDepth.plane())
        #expect(try placement.maskBack(mask) == row.maskBack.plane())
    }

    struct OrientationRow: Decodable, Sendable {
        let exif, seed: Int
        let stored: [Int]
        let upright: Packed
    }

    @Test(arguments: try Fixture.rows("orientations", as: OrientationRow.self))
    func orientationsEqualPillows(_ row: OrientationRow) throws {
        let orientation = try #require(Orientation(rawValue: row.exif))
        var draws = SplitMix64(seed: row.seed)
        let stored = try draws.picture(PixelSize(row.stored))
        #expect(try stored.upright(from: orientation) == row.upright.picture())
        let red = try Plane(size: stored.size, values: stride(from: 0, to: 45, by: 3).map { Float(stored.samples[$0]) })
        let uprightRed = try row.upright.bytes().enumerated().filter { $0.offset % 3 == 0 }.map { Float($0.element) }
        #expect(red.upright(from: orientation).values == uprightRed)
    }

    @Test func aPhotoOfAnotherSizeIsRefused() throws {
        let placement = Placement(
            photo: PixelSize(height: 4, width: 5), frame: PixelSize(height: 2, width: 2), policy: .fit)
        let small = try Picture(size: PixelSize(height: 1, width: 1), channels: 3, samples: [0, 0, 0])
        let gray = try Picture(size: placement.photo, channels: 1, samples: [UInt8](repeating: 0, count: 20))
        #expect(throws: PortraitError.sizeMismatch(what: "photo", expected: placement.photo, found: small.size)) {
            try placement.image(of: small)
        }
        #expect(throws: PortraitError.channels(what: "photo", expected: 3, found: 1)) { try placement.image(of: gray) }
        #expect(throws: PortraitError.sizeMismatch(what: "mask", expected: placement.frame, found: placement.photo)) {
            try placement.maskBack(Plane(size: placement.photo, constant: 0))
        }
        #expect(throws: PortraitError.depthNotFinite) {
            try placement.depth(of: Plane(size: placement.photo, constant: .nan))
        }
    }
}

@Suite struct RandomCaseTests {
    struct Row: Decodable, Sendable {
        let seed, count: Int?
        let image, maskBack: String?
    }

    /// Shapes, policies and pixels are drawn here as in Python; only digests of the results are stored.
    @Test func randomPhotosAndMasksEqualPythons() throws {
        var rows = try Fixture.rows("random_cases", as: Row.self)
        let head = rows.removeFirst()
        var draws = SplitMix64(seed: try #require(head.seed))
        #expect(rows.count == head.count)
        for (index, row) in rows.enumerated() {
            let photoSize = PixelSize(height: draws.below(60) + 1, width: draws.below(60) + 1)
            let frameSize = PixelSize(height: draws.below(40) + 1, width: draws.below(40) + 1)
            let policies = PortraitSpec.ResizePolicy.allCases
            let policy = policies[draws.below(policies.count)]
            let photo = try draws.picture(photoSize)
            let mask = try draws.plane(frameSize)
            let placement = Placement(photo: photoSize, frame: frameSize, policy: policy)
            #expect(try Digest.of(placement.image(of: photo)) == row.image, "case \(index): \(placement)")
            #expect(try Digest.of(placement.maskBack(mask)) == row.maskBack, "case \(index): \(placement)")
        }
    }
}
