import PortraitKit
import SwiftUI

/// Chooses a package and where it runs, and shows how far it is loaded.
struct PackagePicker: View {
    let packages: PackageModel

    var body: some View {
        VStack(alignment: .leading) {
            if let problem = packages.problem {
                Text(verbatim: problem).foregroundStyle(Color.red)
            } else {
                Picker("Package", selection: name) {
                    ForEach(packages.packages) { package in Text(verbatim: package.name).tag(package.name) }
                }
                Picker("Compute units", selection: units) {
                    Text("All").tag(PackageModel.Units.all)
                    Text("CPU and Neural Engine").tag(PackageModel.Units.neuralEngine)
                    Text("CPU and GPU").tag(PackageModel.Units.gpu)
                    Text("CPU").tag(PackageModel.Units.cpu)
                }
                Picker("Framework", selection: framework) {
                    Text(verbatim: "Core ML").tag(EngineSelection.Framework.coreML)
                    Text(verbatim: "Core AI").tag(EngineSelection.Framework.coreAI)
                }
                if let selection = packages.selection { FrameworkReasonView(reason: selection.reason) }
                LoadStateView(state: packages.state)
            }
        }
    }

    private var name: Binding<String> {
        Binding(
            get: { @MainActor in packages.selected?.name ?? "" },
            set: { @MainActor name in
                guard let package = packages.packages.first(where: { $0.name == name }) else { return }
                Task { await packages.load(package, on: packages.units, by: packages.framework) }
            })
    }

    private var units: Binding<PackageModel.Units> {
        Binding(
            get: { @MainActor in packages.units },
            set: { @MainActor units in
                guard let package = packages.selected else { return }
                Task { await packages.load(package, on: units, by: packages.framework) }
            })
    }

    private var framework: Binding<EngineSelection.Framework> {
        Binding(
            get: { @MainActor in packages.framework },
            set: { @MainActor framework in
                guard let package = packages.selected else { return }
                Task { await packages.load(package, on: packages.units, by: framework) }
            })
    }
}

/// Why another framework runs the model than the one that was asked for; nothing if it is that one.
struct FrameworkReasonView: View {
    let reason: EngineSelection.Reason

    var body: some View {
        switch reason {
        case .wanted: EmptyView()
        case .noAsset: Text("Core ML runs it: there is no .aimodel of this name in the app.").font(.caption)
        case .noPackage: Text("Core AI runs it: there is no package of this name in the app.").font(.caption)
        case .systemTooOld: Text("Core ML runs it: Core AI needs iOS 27.").font(.caption)
        case .notInBuild: Text("Core ML runs it: this build has no Core AI, as in the simulator.").font(.caption)
        }
    }
}

/// One line on how far a package is loaded.
struct LoadStateView: View {
    let state: LoadState

    var body: some View {
        switch state {
        case .none: Text("Nothing is loaded.")
        case .loading:
            Label("Loading. The first time, the system prepares the model for this device.", systemImage: "hourglass")
        case .warmingUp: Label("Running a first frame.", systemImage: "hourglass")
        case .ready(let loading, let warmUp):
            Text("Loaded in \(Milliseconds.text(loading)), first frame \(Milliseconds.text(warmUp))")
        case .failed(let reason): Text(verbatim: reason).foregroundStyle(Color.red)
        }
    }
}

/// Latencies as the screens show them.
enum Milliseconds {
    static func text(_ duration: Duration) -> String { text(duration.milliseconds) }

    static func text(_ milliseconds: Double?) -> String {
        milliseconds.map { String(format: "%.1f ms", $0) } ?? "–"
    }
}
