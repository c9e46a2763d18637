import Testing

@testable import PortraitKit

/// An engine without a network: P(person) is the frame's depth, or else its red changed by `distort`.
private struct RedEngine: SegmentationEngine {
    let description: EngineDescription
    let distort: @Sendable (Float) -> Float

    init(
        _ runtime: String = "a test", spec: String = "serseg_b0",
        distort: @escaping @Sendable (Float) -> Float = { $0 }
    ) throws {
        let row = try #require(try Fixture.rows("specs", as: SpecTests.Row.self).first { $0.name == spec })
        let metadata = try PackageMetadata(userDefined: [
            PackageMetadata.specKey: row.json, PackageMetadata.sizesKey: "32x32",
        ])
        description = EngineDescription(package: "red", runtime: runtime, metadata: metadata)
        self.distort = distort
    }

    func probability(of frame: Frame) async throws(PortraitError) -> Plane {
        if let depth = frame.depth { return depth }
        let red = stride(from: 0, to: frame.image.samples.count, by: 3).map { Float(frame.image.samples[$0]) / 255 }
        return try Plane(size: frame.image.size, values: red.map(distort))
    }
}

/// The left part of the picture is red.
private func photo(redColumns: Int, side: Int = 64) throws -> Picture {
    let size = PixelSize(height: side, width: side)
    let samples = (0..<size.pixelCount).flatMap { [UInt8]([$0 % side < redColumns ? 255 : 0, 0, 0]) }
    return try Picture(size: size, channels: 3, samples: samples)
}

@Suite struct LiveSegmenterTests {
    @Test func aFrameGivesItsMaskAndTheLatencyOfEachStep() async throws {
        let live = LiveSegmenter(engine: try RedEngine())
        let found = try await live.mask(of: photo(redColumns: 32), .init(smooths: true, refines: true))
        #expect(found.startsScene)
        #expect(found.mask.size == PixelSize(height: 64, width: 64))
        #expect(found.mask.values[10] > 0.9 && found.mask.values[50] < 0.1)
        #expect(found.latencies.steps.map(\.name) == ["frame", "network", "mask", "smoothing", "refinement"])
    }

    @Test func aFrameThatDiffersALittleIsOfTheSameScene() async throws {
        let live = LiveSegmenter(engine: try RedEngine())
        _ = try await live.mask(of: photo(redColumns: 32))
        #expect(try await live.mask(of: photo(redColumns: 33)).startsScene == false)
    }

    @Test func smoothingThatIsSwitchedOnAgainStartsAfresh() async throws {
        let live = LiveSegmenter(engine: try RedEngine())
        _ = try await live.mask(of: photo(redColumns: 32))
        let plain = try await live.mask(of: photo(redColumns: 32), .init(smooths: false))
        #expect(plain.latencies.steps.map(\.name) == ["frame", "network", "mask", "smoothing"])
        #expect(try await live.mask(of: photo(redColumns: 32)).startsScene)
    }

    @Test func aDepthModelGetsTheDepthOfItsFrame() async throws {
        let live = LiveSegmenter(engine: try RedEngine(spec: "serseg_b0_dam_depth"))
        let size = PixelSize(height: 8, width: 8)
        let depth = try Plane(size: size, values: (0..<64).map { $0 % 8 < 4 ? 1 : 0 })
        let found = try await live.mask(of: photo(redColumns: 64), depth: depth)
        #expect(found.mask.values[10] > 0.9 && found.mask.values[50] < 0.1)
        await #expect(throws: PortraitError.depthMissing(model: "red")) {
            try await live.mask(of: photo(redColumns: 64))
        }
    }

    @Test func statisticsForgetWhatIsLongAgo() {
        var latencies = StepLatencies(window: 3)
        for milliseconds in [100, 90, 1, 2, 3] { latencies.record("step", .milliseconds(milliseconds)) }
        #expect(latencies.steps.first?.latencies.measured.map { $0.rounded() } == [1, 2, 3])
        #expect(latencies.steps.first?.latencies.warmUp.map { $0.rounded() } == [100])
    }

    @Test func aLoadedEngineIsReadyAfterItsFirstFrame() async throws {
        let state = try await RedEngine().readyState(loading: .seconds(2))
        #expect(state.isReady)
        #expect(LoadState.loading.isReady == false)
    }
}

@Suite struct DisparityTests {
    @Test func nearIsWhiteAndWhatWasNotMeasuredIsFar() throws {
        let size = PixelSize(height: 1, width: 7)
        let disparity = try Plane(size: size, values: [0, 1, 2, 4, 8, .nan, -.infinity])
        #expect(Plane(disparity: disparity).values == [0, 0.25, 0.5, 1, 1, 0, 0])
        #expect(Plane(disparity: disparity, whiteMeters: 0.5).values == [0, 0.5, 1, 1, 1, 0, 0])
    }
}

@Suite struct UpwardGeometryTests {
    @Test func rowsAreCountedFromTheBottom() {
        let box = UpwardBox(Box(top: 2, left: 3, bottom: 5, right: 10), in: PixelSize(height: 9, width: 20))
        #expect((box.x, box.y, box.width, box.height) == (3, 4, 7, 3))
    }

    @Test(arguments: [PortraitSpec.ResizePolicy.stretch, .fit, .fill, .crop])
    func thePartThatTheModelSeesCoversItsPlaceInTheFrame(policy: PortraitSpec.ResizePolicy) {
        let placement = Placement(
            photo: PixelSize(height: 910, width: 513), frame: PixelSize(height: 256, width: 192), policy: policy)
        let (source, target) = (placement.upwardSource, placement.upwardTarget)
        let map = UpwardMap(from: source, to: target)
        func close(_ left: Double, _ right: Int) -> Bool { abs(left - Double(right)) < 1e-9 }
        #expect(close(map.scaleX * Double(source.x) + map.offsetX, target.x))
        #expect(close(map.scaleX * Double(source.x + source.width) + map.offsetX, target.x + target.width))
        // The photo's bottom stays the frame's bottom.
        #expect(close(map.scaleY * Double(source.y) + map.offsetY, target.y))
        #expect(close(map.scaleY * Double(source.y + source.height) + map.offsetY, target.y + target.height))
        #expect(source.y == placement.photo.height - placement.source.bottom)
        #expect(target.y == placement.frame.height - placement.target.bottom)
    }
}

@Suite struct SelfCheckTests {
    @Test func enginesThatAgreePass() async throws {
        let photos = [(name: "a", photo: try photo(redColumns: 32)), (name: "b", photo: try photo(redColumns: 8))]
        let check = try await SelfCheck(RedEngine("CPU"), RedEngine("Neural Engine"), on: photos)
        #expect(check.passed)
        #expect(check.rows.map(\.iou) == [1, 1])
        #expect((check.reference, check.candidate) == ("CPU", "Neural Engine"))
    }

    @Test(arguments: [Float(0), Float.nan])
    func anEngineThatGivesSomethingElseFails(value: Float) async throws {
        let photos = [(name: "a", photo: try photo(redColumns: 32))]
        let check = try await SelfCheck(RedEngine(), RedEngine(distort: { _ in value }), on: photos)
        #expect(!check.passed)
        #expect(check.worst?.name == "a")
    }

    @Test func aCheckWithoutPhotographsDoesNotPass() async throws {
        #expect(try await SelfCheck(RedEngine(), RedEngine(), on: []).passed == false)
    }

    @Test func fewPixelsMayFlipWhereNobodyIs() async throws {
        let size = PixelSize(height: 32, width: 32)
        var samples = [UInt8](repeating: 0, count: size.pixelCount * 3)
        samples[0] = 128
        let speck = try Picture(size: size, channels: 3, samples: samples)
        let check = try await SelfCheck(RedEngine(), RedEngine(distort: { $0 * 0.9 }), on: [(name: "a", photo: speck)])
        #expect(check.rows.map(\.iou) == [0])
        #expect(check.passed)
    }
}

@Suite struct CameraSizeTests {
    @Test(arguments: [
        (PixelSize(height: 512, width: 512), PixelSize(height: 720, width: 1280), PixelSize(height: 512, width: 910)),
        (PixelSize(height: 256, width: 192), PixelSize(height: 1280, width: 720), PixelSize(height: 456, width: 256)),
        (PixelSize(height: 512, width: 512), PixelSize(height: 480, width: 360), PixelSize(height: 480, width: 360)),
    ])
    func theCameraScalesToTheNetwork(network: PixelSize, format: PixelSize, scaled: PixelSize) {
        #expect(CameraSize.scaled(for: network, from: format) == scaled)
    }
}
