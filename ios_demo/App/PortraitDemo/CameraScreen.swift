import Foundation
import PortraitKit
import SwiftUI

/// The camera's picture with the person in it, and how long each step takes.
struct CameraScreen: View {
    let packages: PackageModel
    @State private var model = CameraModel()
    @Environment(\.accessibilityReduceMotion) private var reducesMotion

    var body: some View {
        ScrollView {
            VStack(alignment: .leading) {
                if let problem = model.problem {
                    Text(verbatim: problem)
                } else if model.isDrawing {
                    CameraView(layers: model.layers)
                        .aspectRatio(aspectRatio, contentMode: .fit)
                        .accessibilityLabel(Text("The camera's picture"))
                } else if let picture = model.picture {
                    PictureView(picture: picture, label: "The camera's picture")
                } else {
                    ProgressView()
                }
                LookPicker(look: $model.look)
                Toggle("Draw without copies", isOn: $model.drawsWithoutCopies)
                if model.isDrawing, model.copiesMasks {
                    Text("Core ML copies the masks: it did not take the app's buffers.").font(.caption)
                }
                Toggle("Keep masks still", isOn: $model.settings.smooths).disabled(model.isDrawing)
                Toggle("Follow edges", isOn: $model.settings.refines).disabled(model.isDrawing)
                PackagePicker(packages: packages)
                StatisticsView(
                    latencies: model.latencies, runtime: packages.engine?.description.runtime ?? "",
                    thermalState: model.thermalState)
            }
            .padding()
            .animation(reducesMotion ? nil : .default, value: model.look)
        }
        .task(id: packages.engine?.description.runtime ?? "") {
            if let engine = packages.engine { await model.run(engine) }
        }
    }

    private var aspectRatio: CGFloat { CGFloat(model.frameSize.width) / CGFloat(model.frameSize.height) }
}

/// p50 and p95 of each step, what computes, and how warm the device is.
struct StatisticsView: View {
    let latencies: StepLatencies
    let runtime: String
    let thermalState: ProcessInfo.ThermalState

    var body: some View {
        VStack(alignment: .leading) {
            Text(verbatim: runtime).font(.headline)
            ForEach(latencies.steps) { step in
                Text(verbatim: line(step)).font(.caption.monospacedDigit()).accessibilityLabel(
                    Text(verbatim: spoken(step)))
            }
            switch thermalState {
            case .nominal: Text("Temperature: nominal")
            case .fair: Text("Temperature: fair")
            case .serious: Text("Temperature: serious, the system slows down")
            case .critical: Text("Temperature: critical, the system slows down")
            @unknown default: Text("Temperature: unknown")
            }
        }
    }

    private func line(_ step: StepLatencies.Step) -> String {
        "\(step.name): p50 \(Milliseconds.text(step.latencies.p50)), p95 \(Milliseconds.text(step.latencies.p95))"
    }

    private func spoken(_ step: StepLatencies.Step) -> String {
        String(
            localized:
                "\(step.name): median \(Milliseconds.text(step.latencies.p50)), 95 of 100 within \(Milliseconds.text(step.latencies.p95))"
        )
    }
}
