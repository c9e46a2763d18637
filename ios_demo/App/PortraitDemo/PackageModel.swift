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
        await load(first, on: .all)
    }

    /// Loads a package and runs a first frame through it.
    func load(_ package: PlacedPackages.Package, on units: Units) async {
        (selected, self.units, engine, state) = (package, units, nil, .loading)
        let clock = ContinuousClock()
        let start = clock.now
        do {
            let loaded = try await open(package, on: units.computeUnits)
            let loading = clock.now - start
            guard isCurrent(package, units) else { return }
            state = .warmingUp
            let ready = await loaded.readyState(loading: loading)
            guard isCurrent(package, units) else { return }
            state = ready
            engine = ready.isReady ? loaded : nil
        } catch {
            if isCurrent(package, units) { state = .failed("\(error)") }
        }
    }

    /// An engine of its own for a package, for a self-check.
    func open(_ package: PlacedPackages.Package, on units: MLComputeUnits) async throws -> CoreMLEngine {
        guard let url = Bundle.main.url(forResource: package.name, withExtension: "mlmodelc") else {
            throw PortraitError.engine(
                name: package.name, reason: "it is listed, but not in the app.", hint: "Build the app again.")
        }
        return try await CoreMLEngine(contentsOf: url, units: units)
    }

    private func isCurrent(_ package: PlacedPackages.Package, _ units: Units) -> Bool {
        selected == package && self.units == units
    }
}
