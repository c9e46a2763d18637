import Foundation
import PortraitImages
import PortraitKit

/// `portrait-demo bench`: how long each step of one photo takes.
struct BenchCommand {
    static let usage = """
        portrait-demo bench [PHOTO] [--size HxW] [--package X.mlpackage] [--runs N] [--out RESULTS.json]
            [--toolkit COMMAND]
        """

    let photo: String?
    let size: PixelSize
    let runs: Int
    let out: String?
    let engine: EngineChoice?

    init(_ words: [String]) throws {
        let arguments = try Arguments(
            words, options: ["--size", "--runs", "--out,-o"] + EngineChoice.options, flags: [])
        guard arguments.words.count <= 1 else {
            throw UsageError(description: "At most one photo is measured.\n" + Self.usage)
        }
        photo = arguments.words.first
        size = try Self.size(arguments.last("--size") ?? "3000x4000")
        runs = Int(try arguments.number("--runs", atLeast: 1) ?? 5)
        out = arguments.last("--out")
        engine = arguments.last("--package") == nil ? nil : try EngineChoice(arguments)
    }

    func run() async throws {
        var steps = StepLatencies()
        let picture = try photo.map { try PictureFile.photo(at: $0).picture } ?? Synthetic.photo(size)
        let engine: any SegmentationEngine = try await self.engine?.open() ?? SyntheticEngine()
        let segmenter = Segmenter(engine: engine)
        for _ in 0...runs {
            let found = try await segmenter.segment(picture)
            steps.record("photo to frame", found.placing)
            steps.record("network (\(engine.description.runtime))", found.network)
            steps.record("mask to photo", found.maskBack)
            let compositor = try steps.time("check mask") { try Compositor(photo: picture, mask: found.mask) }
            _ = try steps.time("cut-out") { try compositor.picture(.cutOut) }
            _ = try steps.time("replaced by a colour") { try compositor.picture(.replaced(.white)) }
            _ = try steps.time("blurred") { try compositor.picture(.blurred(sigma: nil)) }
            _ = try steps.time("refined mask") { try found.refinedMask(along: picture) }
            _ = steps.time("foreground colours") { compositor.foreground() }
        }
        print("\(picture.size) pixels, \(runs) runs after one of warm-up, milliseconds")
        print(Terminal.table([["step", "first", "p50", "p95"]] + steps.rows))
        if let out { try steps.json().write(to: URL(fileURLWithPath: out), options: .atomic) }
    }

    private static func size(_ text: String) throws -> PixelSize {
        let sides = text.split(separator: "x").compactMap { Int($0) }
        guard sides.count == 2, sides.allSatisfy({ $0 > 0 }), sides[0] <= PictureFile.maxPixels / sides[1] else {
            throw UsageError(description: "\(text) is not a size; write height x width in pixels, such as 3000x4000.")
        }
        return PixelSize(height: sides[0], width: sides[1])
    }
}

extension StepLatencies {
    fileprivate var rows: [[String]] {
        steps.map { step in
            [step.name]
                + [step.latencies.warmUp.first, step.latencies.p50, step.latencies.p95].map(Terminal.milliseconds)
        }
    }

    /// Milliseconds of every measured run by step.
    fileprivate func json() throws -> Data {
        let runs = steps.map { ($0.name, $0.latencies.measured) }
        return try JSONEncoder().encode(Dictionary(uniqueKeysWithValues: runs))
    }
}

/// A photo and a mask that need no file: a person's outline over a slope of colours.
private enum Synthetic {
    static func photo(_ size: PixelSize) throws -> Picture {
        var samples = [UInt8](repeating: 0, count: size.pixelCount * 3)
        for row in 0..<size.height {
            for column in 0..<size.width {
                let index = (row * size.width + column) * 3
                samples[index] = UInt8(truncatingIfNeeded: row &* 7 &+ column &* 13)
                samples[index + 1] = UInt8(255 * row / size.height)
                samples[index + 2] = UInt8(255 * column / size.width)
            }
        }
        return try Picture(size: size, channels: 3, samples: samples)
    }

    /// P(person) of an ellipse with a soft edge.
    static func mask(_ size: PixelSize) throws -> Plane {
        let values = (0..<size.pixelCount).map { index -> Float in
            let row = Float(index / size.width) / Float(size.height) - 0.6
            let column = Float(index % size.width) / Float(size.width) - 0.5
            let distance = (row * row / 0.16 + column * column / 0.06).squareRoot()
            return min(1, max(0, (1.1 - distance) * 5))
        }
        return try Plane(size: size, values: values)
    }
}

/// An engine without a network, to measure everything around one.
private struct SyntheticEngine: SegmentationEngine {
    let description: EngineDescription
    private let mask: Plane

    init() throws {
        let spec = """
            {"color": "rgb", "height": 512, "inputs": ["image"], "mean": [0, 0, 0], "output": "mask",
             "positive": "person", "resize": "stretch", "scale": 1, "std": [1, 1, 1], "threshold": 0.5, "width": 512}
            """
        let metadata = try PackageMetadata(userDefined: [PackageMetadata.specKey: spec])
        description = EngineDescription(package: "none", runtime: "none, a drawn mask", metadata: metadata)
        mask = try Synthetic.mask(metadata.spec.size)
    }

    func probability(of frame: Frame) async throws(PortraitError) -> Plane { mask }
}
