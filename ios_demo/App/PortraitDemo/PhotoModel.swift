import Foundation
import Observation
import PortraitCoreML
import PortraitImages
import PortraitKit

/// One photograph by the loaded package and by Apple's own person segmentation.
@MainActor @Observable
final class PhotoModel {
    /// Two pictures of a photograph and how far their masks agree.
    struct Comparison: Sendable {
        let ours: Picture
        let apples: Picture?
        let iou: Double?
        let note: String?
    }

    var look = ShownLook.cutOut
    var refines = true
    private(set) var comparison: Comparison?
    private(set) var problem: String?
    private(set) var photo: Picture?

    /// Shows a photograph that is in the app.
    func open(path: String) async {
        await open { try PictureFile.photo(at: path).picture }
    }

    /// Shows a picked photograph.
    func open(data: Data) async {
        await open {
            let file = FileManager.default.temporaryDirectory.appendingPathComponent("picked")
            defer { try? FileManager.default.removeItem(at: file) }
            try data.write(to: file)
            return try PictureFile.photo(at: file.path).picture
        }
    }

    /// Makes the pictures of the photograph again.
    func show(with engine: any SegmentationEngine) async {
        guard let photo else { return }
        do {
            comparison = try await Self.compared(photo, engine, look, refines)
            problem = nil
        } catch {
            problem = "\(error)"
        }
    }

    private func open(_ read: @Sendable @escaping () throws -> Picture) async {
        do {
            photo = try await Task.detached { try read() }.value
            problem = nil
        } catch {
            (photo, comparison, problem) = (nil, nil, "\(error)")
        }
    }

    @concurrent private nonisolated static func compared(
        _ photo: Picture, _ engine: any SegmentationEngine, _ look: ShownLook, _ refines: Bool
    ) async throws -> Comparison {
        let found = try await Segmenter(engine: engine).segment(photo)
        let ours = try look.picture(photo, refines ? found.refinedMask(along: photo) : found.mask)
        do {
            let apples = try VisionBaseline().probability(of: photo)
            return Comparison(
                ours: ours, apples: try look.picture(photo, apples), iou: try MaskMetrics(found.mask, apples).iou,
                note: nil)
        } catch {  // the simulator has no person segmentation
            return Comparison(ours: ours, apples: nil, iou: nil, note: "\(error)")
        }
    }
}
