import CoreML
import Foundation
import Observation
import PortraitCoreML
import PortraitKit

/// The packages in the app, and the one that is loaded.
@MainActor @Observable
final class PackageModel {
    /// Where a package may run, by the names that the picker shows.
    enum Units: String, CaseIterable, Identifiable {
        case all, neuralEngine, gpu, cpu

        var id: String { rawValue }

        var computeUnits: MLComputeUnits {
            switch self {
            case .all: return .all
            case .neuralEngine: return .cpuAndNeuralEngine
            case .gpu: return .cpuAndGPU
            case .cpu: return .cpuOnly
            }
        }
    }

    private(set) var placed: PlacedPackages?
    private(set) var problem: String?
    private(set) var state = LoadState.none
    private(set) var engine: (any SegmentationEngine)?
    private(set) var selected: PlacedPackages.Package?
    private(set) var units = Units.all
    private(set) var framework = EngineSelection.Framework.coreML
    private(set) var selection: EngineSelection?

    init() {
        do {
            guard let url = Bundle.main.url(forResource: "packages", withExtension: "json") else {
                problem = String(
                    localized: "No package is in the app. Run `portrait-export demo` and build it again.")
                return
            }
            placed = try PlacedPackages(json: Data(contentsOf: url))
        } catch {
            problem = "\(error)"
        }
    }

    var packages: [PlacedPackages.Package] { placed?.packages ?? [] }

    /// Paths of the photographs in the app.
    var photos: [String] {
        (placed?.photos ?? []).compactMap { name in
            let url = URL(fileURLWithPath: name)
            return Bundle.main.url(
                forResource: url.deletingPathExtension().lastPathComponent, withExtension: url.pathExtension)?.path
        }
    }

    func loadFirst() async {
        guard engine == nil, let first = packages.first else { return }
        await load(first, on: .all, by: .coreML)
    }

    /// Loads a package, or the asset beside it, and runs a first frame through it.
    func load(
        _ package: PlacedPackages.Package, on units: Units, by framework: EngineSelection.Framework
    ) async {
        (selected, self.units, self.framework) = (package, units, framework)
        (engine, selection, state) = (nil, nil, .loading)
        let clock = ContinuousClock()
        let start = clock.now
        do {
            let (loaded, selection) = try await open(package, on: units.computeUnits, by: framework)
            let loading = clock.now - start
            guard isCurrent(package, units, framework) else { return }
            (self.selection, state) = (selection, .warmingUp)
            let ready = await loaded.readyState(loading: loading)
            guard isCurrent(package, units, framework) else { return }
            state = ready
            engine = ready.isReady ? loaded : nil
        } catch {
            if isCurrent(package, units, framework) { state = .failed("\(error)") }
        }
    }

    /// An engine of its own for a package or the asset beside it, and why it is that one.
    func open(
        _ package: PlacedPackages.Package, on units: MLComputeUnits, by framework: EngineSelection.Framework
    ) async throws -> (engine: any SegmentationEngine, selection: EngineSelection) {
        try await AppleEngine.open(
            package.name, package: Bundle.main.url(forResource: package.name, withExtension: "mlmodelc"),
            asset: Bundle.main.url(forResource: package.name, withExtension: "aimodel"), wanting: framework,
            units: units)
    }

    private func isCurrent(
        _ package: PlacedPackages.Package, _ units: Units, _ framework: EngineSelection.Framework
    ) -> Bool {
        selected == package && self.units == units && self.framework == framework
    }
}
