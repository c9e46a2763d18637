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
                LoadStateView(state: packages.state)
            }
        }
    }

    private var name: Binding<String> {
        Binding(
            get: { @MainActor in packages.selected?.name ?? "" },
            set: { @MainActor name in
                guard let package = packages.packages.first(where: { $0.name == name }) else { return }
                Task { await packages.load(package, on: packages.units) }
            })
    }

    private var units: Binding<PackageModel.Units> {
        Binding(
            get: { @MainActor in packages.units },
            set: { @MainActor units in
                guard let package = packages.selected else { return }
                Task { await packages.load(package, on: units) }
            })
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
