import Foundation
import PortraitImages
import PortraitKit

/// `portrait-demo bundle`: what the package computes here, for `portrait-export parity --from-device` to judge.
struct BundleCommand {
    static let usage = """
        portrait-demo bundle PHOTO... --package X.mlpackage -o FOLDER [--toolkit COMMAND]
        """

    let photos: [String]
    let out: String
    let engine: EngineChoice

    init(_ words: [String]) throws {
        let arguments = try Arguments(words, options: ["--out,-o"] + EngineChoice.options, flags: [])
        photos = arguments.words
        guard !photos.isEmpty else { throw UsageError(description: "No photo is given.\n" + Self.usage) }
        out = try arguments.required("--out")
        engine = try EngineChoice(arguments)
    }

    func run() async throws {
        let writer = ParityBundleWriter(
            engine: try await engine.open(), packageSHA256: try PackageHash.sha256(ofPackageAt: engine.package),
            device: .current)
        let bundle = try await writer.write(photos: photos, to: out)
        var network = LatencyStatistics(warmUpCount: 0)
        for frame in bundle.frames { network.record(milliseconds: frame.networkMilliseconds) }
        print("\(bundle.frames.count) frames with masks by \(bundle.computeUnits), written to \(out)")
        print("network p50 \(Terminal.milliseconds(network.p50)) ms, p95 \(Terminal.milliseconds(network.p95)) ms")
    }
}

extension ParityBundle.Device {
    /// This machine.
    fileprivate static var current: Self {
        let process = ProcessInfo.processInfo
        return Self(
            model: "\(process.activeProcessorCount) processor cores", system: process.operatingSystemVersionString)
    }
}
