import CoreML
import Foundation
import Observation
import PortraitCoreML
import PortraitImages
import PortraitKit
import UIKit

/// Checks a package's accelerators against the CPU, and writes parity bundles.
@MainActor @Observable
final class CheckModel {
    private(set) var isBusy = false
    private(set) var check: SelfCheck?
    private(set) var problem: String?
    private(set) var bundle: URL?
    private(set) var done = 0

    /// Compares the masks of the CPU with those of the units that the package is loaded on, by the same framework.
    func check(_ packages: PackageModel) async {
        await work {
            guard let package = packages.selected else { return }
            let framework = packages.framework
            let (reference, _) = try await packages.open(package, on: .cpuOnly, by: framework)
            let (candidate, _) = try await packages.open(package, on: packages.units.computeUnits, by: framework)
            self.check = try await Self.checked(reference, candidate, packages.photos)
        }
    }

    /// Writes what the loaded package makes of the app's photographs.
    func export(_ packages: PackageModel) async {
        await work {
            guard let package = packages.selected, let engine = packages.engine else { return }
            if packages.selection?.framework == .coreAI {
                self.problem = String(
                    localized: "A parity bundle names the Core ML package. Choose Core ML to write one.")
                return
            }
            let device = ParityBundle.Device(
                model: Self.hardware, system: "\(UIDevice.current.systemName) \(UIDevice.current.systemVersion)")
            let writer = ParityBundleWriter(engine: engine, packageSHA256: package.sha256, device: device)
            let documents = try FileManager.default.url(
                for: .documentDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            let stamp = Int(Date().timeIntervalSince1970)
            let folder = documents.appendingPathComponent("\(package.name)-\(stamp).parity")
            self.done = 0
            try await writer.write(photos: packages.photos, to: folder.path) { count in
                await MainActor.run { self.done = count }
            }
            self.bundle = folder
        }
    }

    private func work(_ body: () async throws -> Void) async {
        (isBusy, problem) = (true, nil)
        do {
            try await body()
        } catch {
            problem = "\(error)"
        }
        isBusy = false
    }

    @concurrent private nonisolated static func checked(
        _ reference: any SegmentationEngine, _ candidate: any SegmentationEngine, _ paths: [String]
    ) async throws -> SelfCheck {
        let photos = try paths.map { path in
            (name: URL(fileURLWithPath: path).lastPathComponent, photo: try PictureFile.photo(at: path).picture)
        }
        return try await SelfCheck(reference, candidate, on: photos)
    }

    /// Such as `iPhone16,1`.
    private static var hardware: String {
        var system = utsname()
        uname(&system)
        return withUnsafeBytes(of: &system.machine) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
