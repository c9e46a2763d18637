import Foundation
import PortraitImages
import PortraitKit

/// `portrait-demo segment`: photos to pictures of the people in them.
struct SegmentCommand {
    static let usage = """
        portrait-demo segment PHOTO... --package X.mlpackage -o OUT [--as mask|cutout|replace|blur]...
            [--background COLOR|PICTURE] [--blur SIGMA] [--depth FILE|FOLDER] [--no-refine] [--islands SHARE]
            [--feather RADIUS] [--photo-colors] [--toolkit COMMAND]
        """

    let photos: [String]
    let looks: [NamedLook]
    let treatment: MaskTreatment
    let out: String
    let depth: String?
    let engine: EngineChoice

    init(_ words: [String]) throws {
        let arguments = try Arguments(
            words,
            options: ["--as", "--background", "--blur", "--depth", "--out,-o"] + EngineChoice.options
                + MaskTreatment.options,
            flags: MaskTreatment.flags)
        photos = arguments.words
        guard !photos.isEmpty else { throw UsageError(description: "No photo is given.\n" + Self.usage) }
        looks = try NamedLook.read(arguments)
        treatment = try MaskTreatment(arguments)
        out = try arguments.required("--out")
        depth = arguments.last("--depth")
        engine = try EngineChoice(arguments)
    }

    func run() async throws {
        let segmenter = Segmenter(engine: try await engine.open())
        let threshold = segmenter.engine.description.metadata.spec.threshold
        for photo in photos {
            let (picture, notes) = try PictureFile.photo(at: photo)
            for note in notes { Terminal.warn("\(photo): \(note)") }
            let found = try await segmenter.segment(picture, depth: try depthMap(of: photo))
            let compositor = try treatment.compositor(picture, found, threshold: threshold)
            for look in looks {
                let path = outputPath(photo, look)
                try PictureFile.write(compositor.picture(look.look), to: path)
                print(path)
            }
        }
    }

    /// A file for one photo and one look; else a folder with a file for each, named as `portrait-export segment` does.
    private func outputPath(_ photo: String, _ look: NamedLook) -> String {
        if photos.count == 1, looks.count == 1, !URL(fileURLWithPath: out).pathExtension.isEmpty { return out }
        try? FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
        let stem = URL(fileURLWithPath: photo).deletingPathExtension().lastPathComponent
        return "\(out)/\(stem)-\(look.name).png"
    }

    private func depthMap(of photo: String) throws -> Plane? {
        guard let depth else { return nil }
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: depth, isDirectory: &isFolder), isFolder.boolValue else {
            return try PictureFile.depth(at: depth)
        }
        let stem = URL(fileURLWithPath: photo).deletingPathExtension().lastPathComponent
        return try PictureFile.depth(at: "\(depth)/\(stem).png")
    }
}
