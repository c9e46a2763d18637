import Foundation
import Observation
import PortraitKit
import UIKit

/// Runs the camera's frames through the loaded package.
@MainActor @Observable
final class CameraModel {
    var look = ShownLook.overlay
    var settings = LiveSegmenter.Settings()
    private(set) var picture: Picture?
    private(set) var latencies = StepLatencies()
    private(set) var thermalState = ProcessInfo.ThermalState.nominal
    private(set) var problem: String?
    private let camera = Camera()

    /// Shows frames until the task is cancelled.
    func run(_ engine: any SegmentationEngine) async {
        problem = nil
        do {
            let frames = try await camera.start(for: engine.description.metadata.spec.size)
            let live = LiveSegmenter(engine: engine)
            for await frame in frames {
                if Task.isCancelled { break }
                let found = try await live.mask(of: frame, settings)
                picture = try await Self.composed(found, look)
                latencies = found.latencies
                thermalState = ProcessInfo.processInfo.thermalState
                await camera.turn()
            }
        } catch Camera.Failure.notAllowed {
            problem = String(localized: "The app may not use the camera. Allow it in Settings.")
        } catch Camera.Failure.none {
            problem = String(localized: "There is no camera here. Use the Photo tab.")
        } catch {
            problem = "\(error)"
        }
        await camera.stop()
    }

    /// Composed away from the main actor.
    @concurrent private nonisolated static func composed(_ found: LiveMask, _ look: ShownLook) async throws -> Picture {
        try look.picture(found.photo, found.mask)
    }
}
