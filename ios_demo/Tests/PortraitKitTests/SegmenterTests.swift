import PortraitKit
import Testing

/// An engine without a network: P(person) is the frame's red, the depth map where there is one.
private struct RedEngine: SegmentationEngine {
    let description: EngineDescription

    init(changing key: String = "", to value: String = "") throws {
        let row = try #require(try Fixture.rows("specs", as: SpecTests.Row.self).first { $0.name == "serseg_b0" })
        let json = row.json.replacing("\"\(key)\": [\"image\"]", with: "\"\(key)\": \(value)")
        let metadata = try PackageMetadata(userDefined: [
            PackageMetadata.specKey: json, PackageMetadata.sizesKey: "32x32,48x32",
        ])
        description = EngineDescription(package: "red.mlpackage", runtime: "a test", metadata: metadata)
    }

    func probability(of frame: Frame) async throws(PortraitError) -> Plane {
        if let depth = frame.depth { return depth }
        let red = stride(from: 0, to: frame.image.samples.count, by: 3).map { Float(frame.image.samples[$0]) / 255 }
        return try Plane(size: frame.image.size, values: red)
    }
}

@Suite struct SegmenterTests {
    let photo: Picture

    init() throws {
        let size = PixelSize(height: 90, width: 60)
        let samples = (0..<size.pixelCount).flatMap { [UInt8]([$0 % 60 < 30 ? 255 : 0, 0, 0]) }
        photo = try Picture(size: size, channels: 3, samples: samples)
    }

    @Test func aPhotoGoesThroughTheSizeThatSuitsIt() async throws {
        let found = try await Segmenter(engine: RedEngine()).segment(photo)
        #expect(found.frameMask.size == PixelSize(height: 48, width: 32))
        #expect(found.mask.size == photo.size)
        #expect(found.mask.values[45 * 60 + 10] == 1)
        #expect(found.mask.values[45 * 60 + 50] == 0)
        #expect(found.placing > .zero && found.network > .zero && found.maskBack > .zero)
    }

    @Test func theMaskIsRefinedOrReplacedWhereTheModelSawThePhoto() async throws {
        let found = try await Segmenter(engine: RedEngine()).segment(photo)
        #expect(found.placement.source == Box(covering: photo.size))
        #expect(try found.refinedMask(along: photo) == GuidedFilter().addDetail(to: found.mask, along: photo))
        let half = Plane(size: found.frameMask.size, constant: 0.5)
        #expect(try largestDifference(found.replacingMask(half).mask, Plane(size: photo.size, constant: 0.5)) < 1e-6)
        #expect(throws: PortraitError.sizeMismatch(what: "photo", expected: photo.size, found: half.size)) {
            let black = [UInt8](repeating: 0, count: half.size.pixelCount * 3)
            _ = try found.refinedMask(along: Picture(size: half.size, channels: 3, samples: black))
        }
    }

    @Test func aDepthModelReadsTheDepthMap() async throws {
        let segmenter = Segmenter(engine: try RedEngine(changing: "inputs", to: "[\"image\", \"depth\"]"))
        let depth = Plane(size: PixelSize(height: 9, width: 6), constant: 0.25)
        let found = try await segmenter.segment(photo, depth: depth)
        #expect(largestDifference(found.mask, Plane(size: photo.size, constant: 0.25)) < 1e-6)
        await #expect(throws: PortraitError.depthMissing(model: "red.mlpackage")) { try await segmenter.segment(photo) }
    }

    @Test func aDepthMapThatIsNotReadIsRefused() async throws {
        let segmenter = Segmenter(engine: try RedEngine())
        await #expect(throws: PortraitError.depthNotRead(model: "red.mlpackage")) {
            try await segmenter.segment(photo, depth: Plane(size: photo.size, constant: 0))
        }
    }

    @Test func warmingUpRunsABlackFrame() async throws {
        #expect(try await RedEngine().warmUp() > .zero)
    }
}
