import Foundation
import PortraitImages
import PortraitKit

/// `portrait-demo video`: the frames of a video, one after the other, with masks that keep still.
struct VideoCommand {
    static let usage = """
        portrait-demo video FRAMES_FOLDER --package X.mlpackage -o FOLDER [--as mask|cutout|replace|blur]...
            [--background COLOR|PICTURE] [--blur SIGMA] [--no-smoothing] [--toolkit COMMAND]
        """

    let folder: String
    let looks: [NamedLook]
    let smooths: Bool
    let out: String
    let engine: EngineChoice

    init(_ words: [String]) throws {
        let arguments = try Arguments(
            words, options: ["--as", "--background", "--blur", "--out,-o"] + EngineChoice.options,
            flags: ["--no-smoothing"])
        guard arguments.words.count == 1 else {
            throw UsageError(
                description: "One folder of frames is needed, found \(arguments.words.count).\n" + Self.usage)
        }
        folder = arguments.words[0]
        looks = try NamedLook.read(arguments)
        smooths = !arguments.has("--no-smoothing")
        out = try arguments.required("--out")
        engine = try EngineChoice(arguments)
    }

    func run() async throws {
        let names = try frameNames()
        let segmenter = Segmenter(engine: try await engine.open())
        try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
        var smoother = TemporalSmoother()
        var network = LatencyStatistics()
        var raw: [Plane] = []
        var shown: [Plane] = []
        var scenes = 0
        for name in names {
            let picture = try PictureFile.photo(at: "\(folder)/\(name)").picture
            let found = try await segmenter.segment(picture)
            network.record(found.network)
            let (mask, startsScene) = try smoother.smooth(found.frameMask, of: found.frame.image)
            scenes += startsScene ? 1 : 0
            raw.append(found.frameMask)
            shown.append(smooths ? mask : found.frameMask)
            let kept = smooths ? try found.replacingMask(mask) : found
            let compositor = try Compositor(photo: picture, mask: kept.mask)
            let stem = URL(fileURLWithPath: name).deletingPathExtension().lastPathComponent
            for look in looks {
                try PictureFile.write(compositor.picture(look.look), to: "\(out)/\(stem)-\(look.name).png")
            }
        }
        print("\(names.count) frames, \(scenes) scenes, written to \(out)")
        print("network p50 \(Terminal.milliseconds(network.p50)) ms, p95 \(Terminal.milliseconds(network.p95)) ms")
        let flicker = [try Flicker.of(raw), try Flicker.of(shown)].map { String(format: "%.5f", $0) }
        print("change of the mask from frame to frame: \(flicker[0]) as computed, \(flicker[1]) as shown")
    }

    /// PNG and JPEG files of the folder in the order of their names.
    private func frameNames() throws -> [String] {
        let suffixes = [".png", ".jpg", ".jpeg"]
        let names = try FileManager.default.contentsOfDirectory(atPath: folder)
            .filter { name in suffixes.contains { name.lowercased().hasSuffix($0) } }.sorted()
        guard !names.isEmpty else { throw UsageError(description: "\(folder) has no PNG or JPEG files.") }
        return names
    }
}
