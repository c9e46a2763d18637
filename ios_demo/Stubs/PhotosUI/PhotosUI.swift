// STUB, for type-checking on Linux only: PhotosUI's declarations as published at developer.apple.com, without bodies.

import SwiftUI

public struct PhotosPickerItem: Equatable, Sendable {
    public func loadTransferable<Value: Sendable>(type: Value.Type) async throws -> Value? { fatalError() }
}
public struct PHPickerFilter: Sendable { public static let images = PHPickerFilter() }
public struct PhotosPicker: View {
    public init(
        _ titleKey: LocalizedStringKey, selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter?
    ) { fatalError() }
    public var body: Never { fatalError() }
}
