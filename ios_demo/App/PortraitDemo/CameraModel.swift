import Foundation
import Observation
import PortraitCoreML
import PortraitKit
import UIKit

/// Runs the camera's frames through the loaded package.
@MainActor @Observable
final class CameraModel {
    var look = ShownLook.overlay
    var settings = LiveSegmenter.Settings()
    /// Draw on the GPU what the package gives; otherwise PortraitKit smooths, refines and composes, as on Linux.
    var drawsWithoutCopies = false
    let layers = CameraLayers(frame: .zero)
    private(set) var isDrawing = false
    private(set) var copiesMasks = false
    private(set) var frameSize = PixelSize(height: 16, width: 9)
    private(set) var picture: Picture?
    private(set) var latencies = StepLatencies()
    private(set) var thermalState = ProcessInfo.ThermalState.nominal
    private(set) var problem: String?
    private let camera = Camera()
    private var drawing = StepLatencies(window: 120)

    /// Shows frames until the task is cancelled.
    func run(_ engine: any SegmentationEngine) async {
        problem = nil
        drawing = StepLatencies(window: 120)
        do {
            let spec = engine.description.metadata.spec
            let frames = try await camera.start(for: spec.size, measuresDepth: spec.takesDepth)
            layers.show(camera.preview)
            let renderer = try LiveRenderer(layer: layers.drawn)
            let live = LiveSegmenter(engine: engine)
            for await _ in frames.arrivals {
                if Task.isCancelled { break }
                layers.arrange(angle: await camera.turn(), look: look)
                if drawsWithoutCopies, let engine = engine as? CoreMLEngine, engine.drawsWithoutCopies {
                    isDrawing = true
                    record(try await engine.draw(frames, on: renderer, as: look.live))
                } else {
                    isDrawing = false
                    try await compose(frames, by: live)
                }
                thermalState = ProcessInfo.processInfo.thermalState
            }
        } catch Camera.Failure.notAllowed {
            problem = String(localized: "The app may not use the camera. Allow it in Settings.")
        } catch Camera.Failure.none {
            problem = String(localized: "There is no camera here. Use the Photo tab.")
        } catch Camera.Failure.noDepth {
            problem = String(localized: "This camera does not measure depth, which the package needs.")
        } catch {
            problem = "\(error)"
        }
        isDrawing = false
        await camera.stop()
    }

    private func record(_ frame: DrawnFrame?) {
        guard let frame else { return }
        drawing.record("frame", frame.placing)
        drawing.record("network", frame.network)
        drawing.record("drawing", frame.drawing)
        (latencies, frameSize, copiesMasks) = (drawing, frame.size, frame.copiesMask)
    }

    private func compose(_ frames: FrameSlot, by live: LiveSegmenter) async throws {
        guard let (photo, depth) = try await Self.copied(frames) else { return }
        let found = try await live.mask(of: photo, depth: depth, settings)
        picture = try await Self.composed(found, look)
        latencies = found.latencies
    }

    /// Copied away from the main actor.
    @concurrent private nonisolated static func copied(_ frames: FrameSlot) async throws -> (Picture, Plane?)? {
        try frames.take().map { (try Picture(bgra: $0.pixels), $0.depth) }
    }

    /// Composed away from the main actor.
    @concurrent private nonisolated static func composed(_ found: LiveMask, _ look: ShownLook) async throws -> Picture {
        try look.picture(found.photo, found.mask)
    }
}
