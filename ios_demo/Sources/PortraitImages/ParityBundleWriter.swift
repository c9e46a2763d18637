import Foundation
import PortraitKit

/// Runs an engine on photographs and writes what it saw and gave as a parity bundle.
public struct ParityBundleWriter: Sendable {
    private let engine: any SegmentationEngine
    private let packageSHA256: String
    private let device: ParityBundle.Device

    /// Bundles of one engine.
    ///
    /// - Parameters:
    ///   - engine: runs the package; models with a depth input are refused when it writes.
    ///   - packageSHA256: the hash of the .mlpackage.
    ///   - device: what the engine runs on.
    public init(engine: any SegmentationEngine, packageSHA256: String, device: ParityBundle.Device) {
        self.engine = engine
        self.packageSHA256 = packageSHA256
        self.device = device
    }

    /// Writes a bundle, whole or not at all.
    ///
    /// - Parameters:
    ///   - photos: the paths of photographs; their names without suffix must differ.
    ///   - folder: the bundle to make; nothing may be there.
    ///   - onPhoto: called after each photograph with how many are done.
    /// - Returns: the bundle's list.
    /// - Throws: `PortraitError`, `PictureFileError`.
    @discardableResult
    public func write(
        photos: [String], to folder: String, onPhoto: @Sendable (Int) async -> Void = { _ in }
    ) async throws -> ParityBundle {
        try check(photos, folder)
        let files = FileManager.default
        let partial = "\(folder).partial"
        try? files.removeItem(atPath: partial)
        for part in ["frames", "masks"] {
            try files.createDirectory(atPath: "\(partial)/\(part)", withIntermediateDirectories: true)
        }
        do {
            let bundle = try await fill(partial, photos, onPhoto)
            try files.moveItem(atPath: partial, toPath: folder)
            return bundle
        } catch {
            try? files.removeItem(atPath: partial)
            throw error
        }
    }

    private func fill(
        _ folder: String, _ photos: [String], _ onPhoto: @Sendable (Int) async -> Void
    ) async throws -> ParityBundle {
        let segmenter = Segmenter(engine: engine)
        let warmUp = try await engine.warmUp()
        var entries: [ParityBundle.Entry] = []
        for path in photos {
            let found = try await segmenter.segment(try PictureFile.photo(at: path).picture)
            let entry = ParityBundle.Entry(
                name: Self.name(of: path), networkMilliseconds: found.network.milliseconds)
            let mask = try Compositor(photo: found.frame.image, mask: found.frameMask).maskPicture()
            try PictureFile.write(found.frame.image, to: "\(folder)/\(entry.frame)")
            try PictureFile.write(mask, to: "\(folder)/\(entry.mask)")
            entries.append(entry)
            await onPhoto(entries.count)
        }
        let bundle = ParityBundle(
            engine: engine.description, packageSHA256: packageSHA256, device: device,
            warmUpMilliseconds: warmUp.milliseconds, frames: entries)
        try bundle.json().write(to: URL(fileURLWithPath: "\(folder)/\(ParityBundle.fileName)"))
        return bundle
    }

    private func check(_ photos: [String], _ folder: String) throws {
        let name = engine.description.package
        if engine.description.metadata.spec.takesDepth {
            throw PortraitError.engine(
                name: name, reason: "it reads depth maps, which a parity bundle does not hold.", hint: "")
        }
        let names = photos.map(Self.name)
        if let twice = names.first(where: { wanted in names.filter { $0 == wanted }.count > 1 }) {
            throw PictureFileError.cannotWrite(path: folder, reason: "two photographs are called \(twice)")
        }
        if FileManager.default.fileExists(atPath: folder) {
            throw PictureFileError.cannotWrite(path: folder, reason: "something is there already")
        }
    }

    private static func name(of path: String) -> String {
        URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
    }
}
